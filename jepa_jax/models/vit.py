"""Vision transformer of one image, for training and for every family of foreign weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jepa_jax.encoder import Encoder
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.networks import at_least_float32
from jepa_jax.models.vit_jacobian import jacobian_factor

Params = dict[str, Any]
MLP = Literal["gelu", "quick_gelu", "swiglu"]
Pooling = Literal["class", "mean"]
Positions = Literal["learned", "sincos"]
LAYER_SCALE = 1e-5  # of a new network


@dataclass(frozen=True)
class ViT:
    """Sizes and variants. The defaults are the common ones.

    Attributes:
      image_size: height and width of an image, a multiple of `patch_size`.
      width: D of a token.
      depth: blocks.
      heads: of the attention; they divide the width.
      hidden: width inside an MLP; None is four times the width.
      norm_eps: epsilon of the layer norms.
      class_token: whether one stands before the patches.
      registers: further tokens between the class token and the patches, without positions.
      positions: `learned`, or `sincos`, which training leaves alone.
      patch_bias, qkv_bias: whether these maps have one.
      pre_norm: a layer norm between the positions and the first block (CLIP).
      layer_scale: gains on what attention and MLP add.
      mlp: `gelu` is the exact one; `quick_gelu` x sigmoid(1.702 x); `swiglu` silu(first half) * second half.
      pooling: the embedding is the class token after the last norm, or the mean of the patches after it.
      projection: K, of a linear map of that to the embedding; None for none, and K = width.
      remat: compute each block's activations a second time in a backward pass, instead of keeping them.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    hidden: int | None = None
    channels: int = 3
    norm_eps: float = 1e-6
    class_token: bool = True
    registers: int = 0
    positions: Positions = "learned"
    patch_bias: bool = True
    qkv_bias: bool = True
    pre_norm: bool = False
    layer_scale: bool = False
    mlp: MLP = "gelu"
    pooling: Pooling = "class"
    projection: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit."""
        if self.image_size < self.patch_size or self.image_size % self.patch_size:
            raise ValueError(f"image size {self.image_size} is not a multiple of patch size {self.patch_size}")
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width {self.width}")
        if self.pooling == "class" and not self.class_token:
            raise ValueError("pooling class needs a class token")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, [H, W, C]."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return self.class_token + self.registers

    @property
    def tokens(self) -> int:
        """N, all tokens."""
        return self.prefix + self.side**2

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
        fixed = 2 if self.pooling == "class" or self.side == 1 else 1
        return max(0, self.dim - (self.width - fixed))

    @property
    def flops(self) -> int:
        """Of the matrix products that take one embedding's gradient back to the image: products and sums.

        As many as in the forward pass, but for the attention, whose two products have two gradients each.
        """
        first = self.inside * (2 if self.mlp == "swiglu" else 1)
        dense = 2 * self.tokens * self.width * (4 * self.width + first + self.inside)
        attention = 2 * 4 * self.tokens**2 * self.width
        patches = 2 * self.side**2 * self.width * self.channels * self.patch_size**2
        return self.depth * (dense + attention) + patches


class Block(nnx.Module):
    """Attention and MLP, each after a layer norm and beside the identity: [N, D] -> [N, D]."""

    def __init__(self, config: ViT, *, rngs: nnx.Rngs) -> None:
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


def init(config: ViT, key: Array) -> Params:
    """Random weights as a nested dict of arrays; those of the blocks are stacked, [depth, ...]."""
    keys = jax.random.split(key, 6)
    width, patch = config.width, config.channels * config.patch_size**2
    norm = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
    kernel = nnx.initializers.lecun_normal()
    placed = config.side**2 + config.class_token
    params: Params = {
        "patch": {"kernel": kernel(keys[0], (patch, width))},
        "positions": 0.02 * jax.random.normal(keys[2], (placed, width)),
        "blocks": init_blocks(config, keys[3]),
        "norm": norm,
    }
    if config.positions == "sincos":
        params["positions"] = jnp.asarray(sincos_positions(config))
    if config.patch_bias:
        params["patch"]["bias"] = jnp.zeros(width)
    if config.class_token:
        params["class_token"] = 0.02 * jax.random.normal(keys[1], (1, width))
    if config.registers:
        params["registers"] = 0.02 * jax.random.normal(keys[4], (config.registers, width))
    if config.pre_norm:
        params["pre_norm"] = norm
    if config.projection:
        params["projection"] = {"kernel": kernel(keys[5], (width, config.projection))}
    return params


def init_blocks(config: ViT, key: Array) -> Params:
    """Random weights of the blocks alone."""
    block = jax.vmap(lambda k: nnx.to_pure_dict(nnx.state(Block(config, rngs=nnx.Rngs(k)), nnx.Param)))
    return block(jax.random.split(key, config.depth))


def sincos_positions(config: ViT) -> np.ndarray:
    """Fixed positions [N, D]: half of the numbers for the column of a patch, half for its row; zeros for a class token.

    He et al., "Masked autoencoders are scalable vision learners", arXiv 2111.06377, after Vaswani et al.

    Raises:
      ValueError: the width is not a multiple of four.
    """
    if config.width % 4:
        raise ValueError(f"sincos positions need a width that is a multiple of four, not {config.width}")
    quarter = config.width // 4
    rate = 10000.0 ** -(np.arange(quarter) / quarter)
    row, column = np.divmod(np.arange(config.side**2), config.side)
    angles = [np.outer(place, rate) for place in (column, row)]
    patches = np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((int(config.class_token), config.width)), patches]).astype(np.float32)


def vit_encoder(config: ViT, params: Params, preprocessing: Preprocessing | None = None) -> Encoder:
    """The encoder of these weights: [H, W, C] -> [K]."""
    of_image, factor = _functions(config)
    return Encoder(
        params,
        of_image,
        config.shape,
        config.dim,
        null_directions=config.null_directions,
        factor=factor,
        preprocessing=preprocessing,
    )


@lru_cache(maxsize=16)
def _functions(config: ViT) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The same two functions for the same sizes, so that other weights need no other compilation."""
    return partial(apply, config), partial(factor, config)


def apply(config: ViT, params: Params, image: Array) -> Array:
    """The embedding [K] of one image [H, W, C]."""
    scanned, head = stages(config, params)
    return head(through(config, scanned, embed(config, params, image)))


def encode(config: ViT, params: Params, image: Array, at: Array | None = None, valid: Array | None = None) -> Array:
    """All tokens after the last norm and the projection, [N, K], or of some patches only, which then see no others.

    Args:
      at: [C], numbers of the patches; None for all.
      valid: [C], false for padding in `at`, to which nothing attends.
    """
    x = embed(config, params, image)
    if at is not None:
        x = jnp.concatenate([x[: config.prefix], x[config.prefix :][at]])
    if valid is not None:
        valid = jnp.concatenate([jnp.ones(config.prefix, bool), valid])
    x = layer_norm(params["norm"], through(config, params["blocks"], x, valid), config.norm_eps)
    return x @ params["projection"]["kernel"] if config.projection else x


def through(config: ViT, blocks: Params, x: Array, valid: Array | None = None) -> Array:
    """Tokens [N, D] after all blocks, whose weights are stacked. `valid` as in `Block.attention`."""
    block = block_of(config)

    def one(x: Array, params: Params) -> tuple[Array, None]:
        return block(params)(x, valid=valid), None

    return jax.lax.scan(jax.checkpoint(one) if config.remat else one, x, blocks)[0]


def embed(config: ViT, params: Params, image: Array) -> Array:
    """The tokens before the first block: class token, registers and patches, [N, D]."""
    x = place(config, params, image)
    return layer_norm(params["pre_norm"], x, config.norm_eps) if config.pre_norm else x


def place(config: ViT, params: Params, image: Array) -> Array:
    """The tokens with their positions, [N, D]. An image of another size gets positions between the others."""
    side, patch = image.shape[0] // config.patch_size, config.patch_size
    patches = image.reshape(side, patch, side, patch, -1).swapaxes(1, 2).reshape(side * side, -1)
    x = patches @ params["patch"]["kernel"]
    if config.patch_bias:
        x = x + params["patch"]["bias"][None]
    if config.class_token:
        x = jnp.concatenate([params["class_token"], x])
    positions = params["positions"]
    if side != config.side:
        positions = _resized(positions, int(config.class_token), config.side, side)
    x = x + (jax.lax.stop_gradient(positions) if config.positions == "sincos" else positions)
    if config.registers:
        x = jnp.concatenate([x[: int(config.class_token)], params["registers"], x[int(config.class_token) :]])
    return x


def _resized(positions: Array, prefix: int, old: int, new: int) -> Array:
    """Positions of new x new patches by bicubic interpolation between those of old x old, as DINO does for small crops.

    Without antialiasing, which would blur the positions of fewer patches.
    """
    grid = positions[prefix:].reshape(old, old, -1)
    resized = jax.image.resize(grid, (new, new, grid.shape[-1]), "bicubic", antialias=False)
    return jnp.concatenate([positions[:prefix], resized.reshape(new * new, -1)])


def stages(config: ViT, params: Params) -> tuple[Params, Callable[[Array], Array]]:
    """The blocks to go through with all tokens, and what comes after them: [N, D] -> [K].

    Where only the class token is read, the last block belongs to the second part: it has one query.
    """
    if config.pooling == "mean":
        return params["blocks"], lambda x: _read(config, params, x[config.prefix :])
    first, last = (jax.tree.map(lambda a, s=s: a[s], params["blocks"]) for s in (np.s_[:-1], np.s_[-1]))
    return first, lambda x: _read(config, params, block_of(config)(last)(x, queries=1))


def _read(config: ViT, params: Params, x: Array) -> Array:
    """The embedding [K] from the tokens that are read."""
    normed = layer_norm(params["norm"], x, config.norm_eps)
    z = jnp.mean(at_least_float32(normed), axis=0).astype(x.dtype)
    return z @ params["projection"]["kernel"] if config.projection else z


def layer_norm(params: Params, x: Array, eps: float) -> Array:
    """Of each token of x [N, D]; its statistics are never of less than float32."""
    wide = at_least_float32(x)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)
    return (centred * scale).astype(x.dtype) * params["scale"][None] + params["bias"][None]


@lru_cache(maxsize=16)
def block_of(config: ViT) -> Callable[[Params], Any]:
    """From a block's weights to the block."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0))))
    return lambda params: nnx.merge(graph, params)


def factor(config: ViT, params: Params, image: Array, chunk: int | None = None) -> Array:
    """`jacobian_factor` of this network at one image."""
    scanned, head = stages(config, params)
    norm = partial(layer_norm, params["pre_norm"], eps=config.norm_eps) if config.pre_norm else None
    tokens = place(config, params, image)
    return jacobian_factor(
        block_of(config), scanned, head, norm, tokens, params["patch"]["kernel"], config.prefix, config.dim, chunk
    )
