"""Transformer over tokens on a rectangular grid, for images and all else that is cut into rows and columns."""

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
LAYER_SCALE = 1e-5  # of a new network
SINCOS_BASE = 10000.0  # of the wavelengths of fixed positions


@dataclass(frozen=True)
class Transformer:
    """Sizes and variants. The defaults are the common ones.

    Attributes:
      grid: rows and columns of tokens.
      width: D of a token.
      depth: blocks.
      heads: of the attention; they divide the width.
      hidden: width inside an MLP; None is four times the width.
      norm_eps: epsilon of the layer norms.
      class_token: whether one stands before the tokens of the grid.
      registers: further tokens between the class token and those of the grid, without positions.
      positions: `learned`, or `sincos`, which training leaves alone.
      qkv_bias: whether this map has one.
      pre_norm: a layer norm between the positions and the first block (CLIP).
      layer_scale: gains on what attention and MLP add.
      mlp: `gelu` is the exact one; `quick_gelu` x sigmoid(1.702 x); `swiglu` silu(first half) * second half.
      pooling: the embedding is the class token after the last norm, or the mean of the grid's tokens after it.
      projection: K, of a linear map of that to the embedding; None for none, and K = width.
      remat: compute each block's activations a second time in a backward pass, instead of keeping them.
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
        """Refuse sizes that do not fit."""
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width {self.width}")
        if self.pooling == "class" and not self.class_token:
            raise ValueError("pooling class needs a class token")

    @property
    def prefix(self) -> int:
        """Tokens before those of the grid."""
        return self.class_token + self.registers

    @property
    def inside(self) -> int:
        """Width inside an MLP."""
        return self.hidden or 4 * self.width

    @property
    def dim(self) -> int:
        """K."""
        return self.projection or self.width

    @property
    def null_directions(self) -> int:
        """Output directions that are constant by construction.

        One layer norm fixes the mean of a token and, up to its epsilon, its scale; the mean of several normed tokens
        keeps the first only. A projection to fewer numbers than are left loses none.
        """
        fixed = 2 if self.pooling == "class" or self.grid == (1, 1) else 1
        return max(0, self.dim - (self.width - fixed))


class Block(nnx.Module):
    """Attention and MLP, each after a layer norm and beside the identity: [N, D] -> [N, D]."""

    def __init__(self, config: Transformer, *, rngs: nnx.Rngs) -> None:
        width, inside = config.width, config.inside
        # The fast variance subtracts two large numbers.
        norm = partial(nnx.LayerNorm, width, epsilon=config.norm_eps, use_fast_variance=False, rngs=rngs)
        self.heads, self.mlp = config.heads, config.mlp
        self.norm1, self.norm2 = norm(), norm()
        self.qkv = nnx.Linear(width, 3 * width, use_bias=config.qkv_bias, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)
        self.fc1 = nnx.Linear(width, 2 * inside if config.mlp == "swiglu" else inside, rngs=rngs)
        self.fc2 = nnx.Linear(inside, width, rngs=rngs)
        self.scale1 = nnx.Param(jnp.full(width, LAYER_SCALE)) if config.layer_scale else None
        self.scale2 = nnx.Param(jnp.full(width, LAYER_SCALE)) if config.layer_scale else None

    def attention(self, x: Array, queries: int | None = None, valid: Array | None = None) -> Array:
        """What attention adds to the first `queries` tokens, or to all: [queries, D].

        Args:
          x: tokens [N, D].
          queries: static.
          valid: [N], tokens that may be attended to; None for all. At least one.
        """
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
        logits = jnp.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5
        if valid is not None:
            logits = jnp.where(valid[None, None], logits, -jnp.inf)
        weights = jax.nn.softmax(at_least_float32(logits), axis=-1).astype(v.dtype)
        added = self.proj(jnp.einsum("hqk,khd->qhd", weights, v).reshape(len(q), width))
        return added if self.scale1 is None else added * self.scale1[...][None]

    def hidden(self, x: Array) -> Array:
        """The MLP up to its last layer: [..., D] -> [..., hidden]."""
        h = self.fc1(self.norm2(x))
        if self.mlp == "swiglu":
            gate, value = jnp.split(h, 2, axis=-1)
            return jax.nn.silu(gate) * value
        return h * jax.nn.sigmoid(1.702 * h) if self.mlp == "quick_gelu" else jax.nn.gelu(h, approximate=False)

    def output(self) -> tuple[Array, Array]:
        """The MLP's last layer, its gain included: kernel [hidden, D], bias [D]."""
        assert self.fc2.bias is not None
        kernel, bias = self.fc2.kernel[...], self.fc2.bias[...]
        if self.scale2 is None:
            return kernel, bias
        gain = self.scale2[...]
        return kernel * gain[None], bias * gain

    def added(self, x: Array) -> Array:
        """What the MLP adds: [N, D] -> [N, D]."""
        kernel, bias = self.output()
        return self.hidden(x) @ kernel + bias[None]

    def __call__(self, x: Array, queries: int | None = None, valid: Array | None = None) -> Array:
        """The first `queries` tokens after this block, or all. `valid` as in `attention`."""
        x = (x if queries is None else x[:queries]) + self.attention(x, queries, valid)
        return x + self.added(x)


def init_blocks(config: Transformer, key: Array) -> Params:
    """Random weights of the blocks, stacked, [depth, ...]."""
    block = jax.vmap(lambda k: nnx.to_pure_dict(nnx.state(Block(config, rngs=nnx.Rngs(k)), nnx.Param)))
    return block(jax.random.split(key, config.depth))


@lru_cache(maxsize=16)
def block_of(config: Transformer) -> Callable[[Params], Any]:
    """Function from a block's weights to the block."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0))))
    return lambda params: nnx.merge(graph, params)


def through(config: Transformer, blocks: Params, x: Array, valid: Array | None = None) -> Array:
    """Tokens [N, D] after all blocks, whose weights are stacked. `valid` as in `Block.attention`."""
    block = block_of(config)

    def one(x: Array, params: Params) -> tuple[Array, None]:
        return block(params)(x, valid=valid), None

    return jax.lax.scan(jax.checkpoint(one) if config.remat else one, x, blocks)[0]


def layer_norm(params: Params, x: Array, eps: float) -> Array:
    """Layer norm of each token of x [N, D]; its statistics are never of less than float32."""
    wide = at_least_float32(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)
    return (centred * scale).astype(x.dtype) * params["scale"][None] + params["bias"][None]


def sincos_positions(grid: Grid, width: int) -> np.ndarray:
    """Fixed positions [rows * columns, D]: half of the numbers for a token's column, half for its row.

    He et al., "Masked autoencoders are scalable vision learners", arXiv 2111.06377, after Vaswani et al.

    Raises:
      ValueError: the width is not a multiple of four.
    """
    if width % 4:
        raise ValueError(f"sincos positions need a width that is a multiple of four, not {width}")
    quarter = width // 4
    rate = SINCOS_BASE ** -(np.arange(quarter) / quarter)
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    angles = [np.outer(place, rate) for place in (column, row)]
    return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1).astype(np.float32)


def resized_positions(positions: Array, prefix: int, old: Grid, new: Grid) -> Array:
    """Positions for another grid by bicubic interpolation, as DINO does for small crops.

    Without antialiasing, which would blur the positions of fewer tokens.

    Args:
      positions: [prefix + rows * columns, D]; the first ones stay as they are.
      prefix: how many those are.
      old, new: the grids.
    """
    grid = positions[prefix:].reshape(*old, -1)
    resized = jax.image.resize(grid, (*new, grid.shape[-1]), "bicubic", antialias=False)
    return jnp.concatenate([positions[:prefix], resized.reshape(new[0] * new[1], -1)])
