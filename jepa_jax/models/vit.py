"""Vision transformer of one image, and its Jacobian layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jepa_jax.density.jacobian import even
from jepa_jax.density.memory import CHUNK_BYTES, budget, live_bytes
from jepa_jax.encoder import Encoder

Params = dict[str, Any]


@dataclass(frozen=True)
class ViT:
    """Sizes. The embedding is the class token after the last layer norm, K = width.

    Attributes:
      image_size: height and width of an image, a multiple of `patch_size`.
      width: D of a token.
      depth: blocks.
      heads: of the attention; they divide the width.
    """

    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    channels: int = 3
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit."""
        if self.image_size % self.patch_size:
            raise ValueError(f"image size {self.image_size} is not a multiple of patch size {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide width {self.width}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, [H, W, C]."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def tokens(self) -> int:
        """N, the class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @property
    def flops(self) -> int:
        """Of the matrix products that take one embedding's gradient back to the image: products and sums.

        As many as in the forward pass, but for the attention, whose two products have two gradients each.
        """
        dense = 2 * self.tokens * 12 * self.width**2
        attention = 2 * 4 * self.tokens**2 * self.width
        patches = 2 * (self.tokens - 1) * self.width * self.channels * self.patch_size**2
        return self.depth * (dense + attention) + patches


class Block(nnx.Module):
    """Attention and MLP, each after a layer norm and beside the identity: [N, D] -> [N, D]."""

    def __init__(self, config: ViT, *, rngs: nnx.Rngs) -> None:
        width = config.width
        # The fast variance subtracts two large numbers.
        norm = partial(nnx.LayerNorm, width, epsilon=config.norm_eps, use_fast_variance=False, rngs=rngs)
        self.heads = config.heads
        self.norm1, self.norm2 = norm(), norm()
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)

    def attention(self, x: Array, queries: int | None = None) -> Array:
        """What attention adds to the first `queries` tokens, or to all: [queries, D]."""
        width = x.shape[1]
        assert self.qkv.bias is not None
        kernel, bias = self.qkv.kernel[...], self.qkv.bias[...]
        h = self.norm1(x)
        asked = h if queries is None else h[:queries]
        if queries is None:
            q, k, v = jnp.split(h @ kernel + bias[None], 3, axis=1)
        else:
            q = asked @ kernel[:, :width] + bias[None, :width]
            k, v = jnp.split(h @ kernel[:, width:] + bias[None, width:], 2, axis=1)
        q, k, v = (t.reshape(len(t), self.heads, -1) for t in (q, k, v))
        weights = jax.nn.softmax(jnp.einsum("qhd,khd->hqk", q, k) * q.shape[-1] ** -0.5, axis=-1)
        return self.proj(jnp.einsum("hqk,khd->qhd", weights, v).reshape(len(q), width))

    def hidden(self, x: Array) -> Array:
        """The MLP up to its last layer: [..., D] -> [..., 4 D]."""
        return jax.nn.gelu(self.fc1(self.norm2(x)), approximate=False)

    def __call__(self, x: Array, queries: int | None = None) -> Array:
        """The first `queries` tokens after this block, or all."""
        x = (x if queries is None else x[:queries]) + self.attention(x, queries)
        return x + self.fc2(self.hidden(x))


def init(config: ViT, key: Array) -> Params:
    """Random weights as a nested dict of arrays; those of the blocks are stacked, [depth, ...]."""
    first, second, third, fourth = jax.random.split(key, 4)
    width, patch = config.width, config.channels * config.patch_size**2
    blocks = jax.vmap(lambda k: nnx.to_pure_dict(nnx.state(Block(config, rngs=nnx.Rngs(k)), nnx.Param)))
    return {
        "patch": {
            "kernel": nnx.initializers.lecun_normal()(first, (patch, width)),
            "bias": jnp.zeros(width),
        },
        "class_token": 0.02 * jax.random.normal(second, (1, width)),
        "positions": 0.02 * jax.random.normal(third, (config.tokens, width)),
        "blocks": blocks(jax.random.split(fourth, config.depth)),
        "norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
    }


def vit_encoder(config: ViT, params: Params) -> Encoder:
    """The encoder of these weights: [H, W, C] -> [K]. A layer norm at the end leaves two directions null."""
    of_image, factor = _functions(config)
    return Encoder(params, of_image, config.shape, config.width, null_directions=2, factor=factor)


@lru_cache(maxsize=16)
def _functions(config: ViT) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """The same two functions for the same sizes, so that other weights need no other compilation."""
    return partial(apply, config), partial(jacobian_factor, config)


def apply(config: ViT, params: Params, image: Array) -> Array:
    """The embedding [K] of one image [H, W, C]."""
    x = embed(config, params, image)
    block = _block(config)
    x, _ = jax.lax.scan(lambda x, p: (block(p)(x), None), x, _first(params))
    return _head(config, params, x)


def jacobian_factor(config: ViT, params: Params, image: Array, chunk: int | None = None) -> Array:
    """A matrix with the singular values of the Jacobian of `apply` at one image, in about two thirds of its arithmetic.

    Reverse mode, but a block at a time with all K gradients, [N, K, D], and not a gradient at a time with all blocks:

    - Between two attentions every token is by itself. Its map y + W2 g(W1 norm(y)) has a D x D Jacobian M, which costs
      8 D^3 to form and 2 K D^2 to apply to K gradients, where taking them through W2 and W1 costs 16 K D^2.
    - One token is read, so the last block has one query and one row in its MLP.
    - The image enters by one linear map for all patches, E = Q R with Q orthonormal: J = J' R' Q' has the singular
      values of J' R', which has min(D, patch) columns a patch, and Q need not be applied.

    Args:
      image: [H, W, C].
      chunk: gradients at once in an attention; None takes what fits.

    Returns:
      [K, (N - 1) min(D, C P^2)].
    """
    width, block = config.width, _block(config)
    first = _first(params)

    def forward(x: Array, p: Params) -> tuple[Array, tuple[Array, Array]]:
        b = block(p)
        y = x + b.attention(x)
        return y + b.fc2(b.hidden(y)), (x, y)

    x, (xs, ys) = jax.lax.scan(forward, embed(config, params, image), first)
    pull = jax.vjp(partial(_head, config, params), x)[1]
    grads = _by_chunks(pull, jnp.eye(width, dtype=x.dtype)[None], chunk)

    def backward(grads: Array, inputs: tuple[Params, Array, Array]) -> tuple[Array, None]:
        p, x, y = inputs
        b = block(p)
        through = b.fc2.kernel[...].T

        def token(y: Array) -> Array:
            pull = jax.vjp(b.hidden, y)[1]
            return jnp.eye(width, dtype=y.dtype) + jax.vmap(lambda row: pull(row)[0])(through)

        tokens = max(1, budget(CHUNK_BYTES) // (3 * through.nbytes))
        maps = jax.lax.map(token, y, batch_size=even(len(y), tokens))
        grads = jnp.einsum("nkd,nde->nke", grads, maps)
        pull = jax.vjp(b.attention, x)[1]
        return _by_chunks(lambda g: (g + pull(g)[0],), grads, chunk), None

    grads, _ = jax.lax.scan(backward, grads, (first, xs, ys), reverse=True)
    with jax.enable_x64(True):  # or the triangle's rounding would come on top of the products'
        triangle = jnp.linalg.qr(params["patch"]["kernel"].astype(jnp.float64), mode="r").astype(x.dtype)
    factor = jnp.einsum("nkd,rd->knr", grads[1:], triangle)
    return factor.reshape(width, -1)


def embed(config: ViT, params: Params, image: Array) -> Array:
    """Class token and patches with their positions, [N, D]."""
    side, patch = config.image_size // config.patch_size, config.patch_size
    patches = image.reshape(side, patch, side, patch, -1).swapaxes(1, 2).reshape(side * side, -1)
    tokens = patches @ params["patch"]["kernel"] + params["patch"]["bias"][None]
    return jnp.concatenate([params["class_token"], tokens]) + params["positions"]


def _block(config: ViT) -> Callable[[Params], Any]:
    """From a block's weights to the block."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0))))
    return lambda params: nnx.merge(graph, params)


def _first(params: Params) -> Params:
    """The weights of all blocks but the last."""
    return jax.tree.map(lambda a: a[:-1], params["blocks"])


def _head(config: ViT, params: Params, x: Array) -> Array:
    """From the tokens before the last block, [N, D], to the embedding."""
    last = _block(config)(jax.tree.map(lambda a: a[-1], params["blocks"]))
    z = last(x, queries=1)[0]
    centred = z - jnp.mean(z)
    scale = jax.lax.rsqrt(jnp.mean(centred**2) + config.norm_eps)
    return centred * scale * params["norm"]["scale"] + params["norm"]["bias"]


def _by_chunks(pull: Callable[[Array], tuple[Array]], rows: Array, chunk: int | None) -> Array:
    """A linear map of one gradient applied to many, some at a time: [A, K, D] -> [N, K, D], one [A, D] -> [N, D].

    A leading axis A of 1 in `rows` is dropped for the map.
    """
    first = rows[0, 0] if rows.shape[0] == 1 else rows[:, 0]
    count = rows.shape[1]
    if chunk is None:
        chunk = max(1, budget(CHUNK_BYTES) // live_bytes(pull, first))
    chunk = even(count, chunk)
    out = jax.eval_shape(pull, first)[0]

    def body(i: Array, done: Array) -> Array:
        # The last chunk overlaps the one before it where the number does not divide.
        start = jnp.minimum(i * chunk, count - chunk)
        part = jax.lax.dynamic_slice_in_dim(rows, start, chunk, axis=1)
        part = part[0] if rows.shape[0] == 1 else part
        result = jax.vmap(lambda g: pull(g)[0], in_axes=0 if part.ndim == 2 else 1, out_axes=1)(part)
        return jax.lax.dynamic_update_slice_in_dim(done, result, start, axis=1)

    done = jnp.zeros((out.shape[0], count, *out.shape[1:]), out.dtype)
    return jax.lax.fori_loop(0, -(-count // chunk), body, done)
