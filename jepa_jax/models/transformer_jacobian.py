"""The Jacobian of a transformer, a block at a time with all gradients at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.density.jacobian import even
from jepa_jax.memory import CHUNK_BYTES, budget, live_bytes


def jacobian_factor(
    block: Callable[[Any], Any],
    blocks: Any,
    head: Callable[[Array], Array],
    norm: Callable[[Array], Array] | None,
    tokens: Array,
    kernel: Array,
    prefix: int,
    dim: int,
    chunk: int | None,
    platform: str,
) -> Array:
    """A matrix with the singular values of the Jacobian at one sample, in about two thirds of its arithmetic.

    Reverse mode, but a block at a time with all K gradients, [N, K, D], and not a gradient at a time with all blocks:

    - Between two attentions every token is by itself. Its map y + W2 g(W1 norm(y)) has a D x D Jacobian M, which costs
      8 D^3 to form and 2 K D^2 to apply to K gradients, where taking them through W2 and W1 costs 16 K D^2.
    - Where one token is read, the last block has one query and one row in its MLP.
    - The sample enters by one linear map of disjoint parts, E = Q R with Q orthonormal: J = J' R' Q' has the singular
      values of J' R', which has min(D, P) columns a part, and Q need not be applied.

    Args:
      block: a block's weights -> the block.
      blocks: the weights of those to go through with all tokens, stacked.
      head: the tokens after them, [N, D] -> the embedding [K].
      norm: of each token before the first block, or None.
      tokens: [N, D], those of the grid with positions, `prefix` others before them.
      kernel: E, from the P numbers of a part to a token, [P, D].
      prefix: tokens before those of the grid.
      dim: K.
      chunk: gradients at once in an attention; None takes what fits.
      platform: that the program is for, `cpu`, `gpu` or `tpu`.

    Returns:
      [K, (N - prefix) min(D, P)].
    """
    room = budget(CHUNK_BYTES, platform)

    def forward(x: Array, p: Any) -> tuple[Array, tuple[Array, Array]]:
        b = block(p)
        y = x + b.attention(x)
        return y + b.added(y), (x, y)

    x, (xs, ys) = jax.lax.scan(forward, tokens if norm is None else norm(tokens), blocks)
    pull = jax.vjp(head, x)[1]
    grads = _by_chunks(pull, jnp.eye(dim, dtype=x.dtype)[None], chunk, room)

    def backward(grads: Array, inputs: tuple[Any, Array, Array]) -> tuple[Array, None]:
        p, x, y = inputs
        return _block_backward(block(p), grads, x, y, chunk, room), None

    grads, _ = jax.lax.scan(backward, grads, (blocks, xs, ys), reverse=True)
    grads = grads[prefix:]
    if norm is not None:
        grads = jax.vmap(lambda t, g: _through(norm, t, g))(tokens[prefix:], grads)
    with jax.enable_x64(True):  # or the triangle's rounding would come on top of the products'
        triangle = jnp.linalg.qr(kernel.astype(jnp.float64), mode="r").astype(x.dtype)
    return jnp.einsum("nkd,rd->knr", grads, triangle).reshape(dim, -1)


def _block_backward(b: Any, grads: Array, x: Array, y: Array, chunk: int | None, room: int) -> Array:
    """Gradients [N, K, D] after a block as gradients before it.

    Args:
      b: the block.
      grads: [N, K, D].
      x, y: the tokens [N, D] before the block and between its two halves.
      chunk: as in `jacobian_factor`.
      room: bytes for what is alive at once.
    """
    last = b.output()[0].T

    def token(y: Array) -> Array:
        pull = jax.vjp(b.hidden, y)[1]
        return jnp.eye(len(y), dtype=y.dtype) + jax.vmap(lambda row: pull(row)[0])(last)

    tokens = max(1, room // (3 * last.nbytes))
    maps = jax.lax.map(token, y, batch_size=even(len(y), tokens))
    grads = jnp.einsum("nkd,nde->nke", grads, maps)
    pull = jax.vjp(b.attention, x)[1]
    return _by_chunks(lambda g: (g + pull(g)[0],), grads, chunk, room)


def _through(norm: Callable[[Array], Array], token: Array, grads: Array) -> Array:
    """Gradients [K, D] with respect to a normed token as gradients with respect to the token [D]."""
    pull = jax.vjp(lambda t: norm(t[None])[0], token)[1]
    return jax.vmap(lambda g: pull(g)[0])(grads)


def _by_chunks(pull: Callable[[Array], tuple[Array]], rows: Array, chunk: int | None, room: int) -> Array:
    """A linear map of one gradient applied to many, some at a time: [A, K, D] -> [N, K, D], one [A, D] -> [N, D].

    A leading axis A of 1 in `rows` is dropped for the map.
    """
    first = rows[0, 0] if rows.shape[0] == 1 else rows[:, 0]
    count = rows.shape[1]
    if chunk is None:
        chunk = max(1, room // live_bytes(pull, first))
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
