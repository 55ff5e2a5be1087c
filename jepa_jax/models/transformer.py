"""Transformer over tokens on a rectangular grid, for images and other data that are divided into rows and columns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jepa_jax.models.networks import at_least_float32

Params = dict[str, Any]
Grid = tuple[int, int]
Activation = Literal["gelu", "quick_gelu", "swiglu"]
Pooling = Literal["class", "mean"]
Positions = Literal["learned", "sincos"]
INITIAL_LAYER_SCALE = 1e-5  # gains of a new network
SINCOS_BASE = 10000.0  # base of the wavelengths of fixed positions


@dataclass(frozen=True)
class Transformer:
    """Sizes and variants of a transformer; the defaults are the common choices.

    Attributes:
      grid: Numbers of rows and columns of tokens.
      width: Width of a token, D.
      depth: Number of blocks.
      heads: Number of attention heads; it must divide the width.
      hidden: Hidden width of an MLP; None for four times the width of a token.
      norm_eps: Epsilon of the layer norms.
      class_token: Whether a class token precedes the tokens of the grid.
      registers: Number of further tokens between the class token and those of the grid, without positions.
      positions: `learned`, or `sincos`, which are constant in training.
      qkv_bias: Whether the map to queries, keys and values has a bias.
      pre_norm: Whether a layer norm follows the positions, before the first block (CLIP).
      layer_scale: Whether the outputs of attention and MLP are multiplied by learned gains.
      mlp: Activation of an MLP: `gelu` (exact), `quick_gelu`, x sigmoid(1.702 x), or `swiglu`, silu(first half) *
        second half.
      pooling: Whether the class token or the mean of the tokens of the grid, after the last layer norm, is the
        embedding.
      projection: K of a linear map from the pooled token to the embedding; None for no such map, so that K = width.
      remat: Recompute the activations of each block in a backward pass, instead of storing them.
    """

    grid: Grid
    width: int
    depth: int
    heads: int
    hidden: int | None = None
    norm_eps: float = 1e-6
    class_token: bool = True
    registers: int = 0
    positions: Positions = "learned"
    qkv_bias: bool = True
    pre_norm: bool = False
    layer_scale: bool = False
    mlp: Activation = "gelu"
    pooling: Pooling = "class"
    projection: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Check that the sizes are compatible."""
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width {self.width}")
        if self.pooling == "class" and not self.class_token:
            raise ValueError("pooling class needs a class token")

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the grid."""
        return self.class_token + self.registers

    @property
    def inside(self) -> int:
        """Hidden width of an MLP."""
        return self.hidden or 4 * self.width

    @property
    def dim(self) -> int:
        """Width of the embedding, K."""
        return self.projection or self.width

    @property
    def null_directions(self) -> int:
        """Number of output directions that are constant by construction.

        A layer norm fixes the mean of a token and, up to its epsilon, its scale; the mean of several normed tokens
        retains only the first of these constraints. A projection to at most as many numbers as remain free has no
        constant direction.
        """
        fixed = 2 if self.pooling == "class" or self.grid == (1, 1) else 1
        return max(0, self.dim - (self.width - fixed))


class Block(nnx.Module):
    """Attention and MLP, each after a layer norm and with a residual connection: [N, D] -> [N, D]."""

    def __init__(self, config: Transformer, *, rngs: nnx.Rngs) -> None:
        width, inside = config.width, config.inside
        # The fast variance is inaccurate, because it is a difference of two large numbers.
        norm = partial(nnx.LayerNorm, width, epsilon=config.norm_eps, use_fast_variance=False, rngs=rngs)
        self.heads, self.mlp = config.heads, config.mlp
        self.norm1, self.norm2 = norm(), norm()
        self.qkv = nnx.Linear(width, 3 * width, use_bias=config.qkv_bias, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)
        self.fc1 = nnx.Linear(width, 2 * inside if config.mlp == "swiglu" else inside, rngs=rngs)
        self.fc2 = nnx.Linear(inside, width, rngs=rngs)
        self.scale1 = nnx.Param(jnp.full(width, INITIAL_LAYER_SCALE)) if config.layer_scale else None
        self.scale2 = nnx.Param(jnp.full(width, INITIAL_LAYER_SCALE)) if config.layer_scale else None

    def attention(self, x: Array, queries: int | None = None, valid: Array | None = None) -> Array:
        """Return the output of the attention, which is added to the first `queries` tokens or to all: [queries, D].

        Args:
          x: Tokens [N, D].
          queries: Number of tokens that attend, static; None for all.
          valid: Tokens that may be attended to, [N], at least one; None for all.
        """
        q, k, v = self.heads_of(x, queries)
        added = self.proj(jnp.einsum("hqk,khd->qhd", attention_weights(q, k, valid), v).reshape(len(q), -1))
        return added if self.scale1 is None else added * self.scale1[...][None]

    def heads_of(self, x: Array, queries: int | None = None) -> tuple[Array, Array, Array]:
        """Return the queries of the first `queries` tokens or of all, the keys and the values: [N, heads, d] each."""
        width = x.shape[1]
        kernel = self.qkv.kernel[...]
        bias = jnp.zeros(3 * width, kernel.dtype) if self.qkv.bias is None else self.qkv.bias[...]
        h = self.norm1(x)
        if queries is None:
            q, k, v = jnp.split(h @ kernel + bias[None], 3, axis=1)
        else:
            q = h[:queries] @ kernel[:, :width] + bias[None, :width]
            k, v = jnp.split(h @ kernel[:, width:] + bias[None, width:], 2, axis=1)
        q, k, v = (t.reshape(len(t), self.heads, -1) for t in (q, k, v))
        return q, k, v

    def activate(self, u: Array) -> Array:
        """Return the input of the last layer of the MLP from the output of its first: [..., hidden]."""
        if self.mlp == "swiglu":
            gate, value = jnp.split(u, 2, axis=-1)
            return jax.nn.silu(gate) * value
        return u * jax.nn.sigmoid(1.702 * u) if self.mlp == "quick_gelu" else jax.nn.gelu(u, approximate=False)

    def hidden(self, x: Array) -> Array:
        """Return the input of the last layer of the MLP: [..., D] -> [..., hidden]."""
        return self.activate(self.fc1(self.norm2(x)))

    def output(self) -> tuple[Array, Array]:
        """Return the last layer of the MLP including its gain: kernel [hidden, D], bias [D]."""
        assert self.fc2.bias is not None
        kernel, bias = self.fc2.kernel[...], self.fc2.bias[...]
        if self.scale2 is None:
            return kernel, bias
        gain = self.scale2[...]
        return kernel * gain[None], bias * gain

    def added(self, x: Array) -> Array:
        """Return the output of the MLP, which is added to the tokens: [N, D] -> [N, D]."""
        kernel, bias = self.output()
        return self.hidden(x) @ kernel + bias[None]

    def __call__(self, x: Array, queries: int | None = None, valid: Array | None = None) -> Array:
        """Return the first `queries` tokens, or all, after this block; `valid` is as in `attention`."""
        x = (x if queries is None else x[:queries]) + self.attention(x, queries, valid)
        return x + self.added(x)


def attention_weights(q: Array, k: Array, valid: Array | None = None) -> Array:
    """Return how much each query attends to each key: [heads, queries, keys].

    Args:
      q: Queries, [queries, heads, d].
      k: Keys, [keys, heads, d].
      valid: Keys that may be attended to, [keys], at least one; None for all.
    """
    logits = jnp.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
    if valid is not None:
        logits = jnp.where(valid[None, None], logits, -jnp.inf)
    return jax.nn.softmax(at_least_float32(logits), axis=-1).astype(k.dtype)


def init_blocks(config: Transformer, key: Array) -> Params:
    """Return random weights of the blocks, stacked, [depth, ...]."""
    block = jax.vmap(lambda k: nnx.to_pure_dict(nnx.state(Block(config, rngs=nnx.Rngs(k)), nnx.Param)))
    return block(jax.random.split(key, config.depth))


@lru_cache(maxsize=16)
def block_of(config: Transformer) -> Callable[[Params], Any]:
    """Return the function from the weights of a block to the block."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0))))
    return lambda params: nnx.merge(graph, params)


def through(config: Transformer, blocks: Params, x: Array, valid: Array | None = None) -> Array:
    """Return the tokens [N, D] after all blocks, whose weights are stacked; `valid` is as in `Block.attention`."""
    block = block_of(config)

    def one(x: Array, params: Params) -> tuple[Array, None]:
        return block(params)(x, valid=valid), None

    return jax.lax.scan(jax.checkpoint(one) if config.remat else one, x, blocks)[0]


def layer_norm(params: Params, x: Array, eps: float) -> Array:
    """Apply layer norm to each token of x [N, D], with statistics in at least float32."""
    wide = at_least_float32(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)
    return (centred * scale).astype(x.dtype) * params["scale"][None] + params["bias"][None]


def sincos_positions(grid: Grid, width: int) -> np.ndarray:
    """Return fixed positions [rows * columns, D]: half of the numbers for the column of a token, half for its row.

    He et al., "Masked autoencoders are scalable vision learners", arXiv 2111.06377, after Vaswani et al.

    Raises:
      ValueError: If the width is not a multiple of four.
    """
    if width % 4:
        raise ValueError(f"sincos positions need a width that is a multiple of four, not {width}")
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    tables = [sincos_table(side, width // 2)[place] for side, place in ((grid[1], column), (grid[0], row))]
    return np.concatenate(tables, axis=1).astype(np.float32)


def sincos_table(side: int, width: int) -> np.ndarray:
    """Return fixed positions along one axis, [side, D], float64: sines and then cosines of falling frequencies.

    Raises:
      ValueError: If the width is odd.
    """
    if width % 2:
        raise ValueError(f"sincos positions along one axis need an even width, not {width}")
    rate = SINCOS_BASE ** -(np.arange(width // 2) / (width // 2))
    angles = np.outer(np.arange(side), rate)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def resized_positions(positions: Array, prefix: int, old: Grid, new: Grid) -> Array:
    """Interpolate positions to another grid by bicubic interpolation, as DINO does for small crops.

    There is no antialiasing, which would blur the positions of a smaller grid.

    Args:
      positions: Positions [prefix + rows * columns, D]; the first `prefix` ones stay unchanged.
      prefix: Number of positions before those of the grid.
      old: Numbers of rows and columns of the given positions.
      new: Numbers of rows and columns of the result.
    """
    grid = positions[prefix:].reshape(*old, -1)
    resized = jax.image.resize(grid, (*new, grid.shape[-1]), "bicubic", antialias=False)
    return jnp.concatenate([positions[:prefix], resized.reshape(new[0] * new[1], -1)])
