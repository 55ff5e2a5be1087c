"""Jacobian of a transformer, computed block by block with all gradients at once."""

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
    memory: int | None = None,
) -> Array:
    """Return a matrix with the singular values of the Jacobian at one sample, in about two thirds of its arithmetic.

    This is reverse mode, but all K gradients, [N, K, D], pass through one block after another, instead of one gradient
    after another through all blocks:

    - Between two attentions every token is independent. Its map y + W2 g(W1 norm(y)) has a D x D Jacobian M, which
      costs 8 D^3 to form and 2 K D^2 to apply to K gradients; passing them through W2 and W1 costs 16 K D^2.
    - If one token is read, the last block has one query and one row in its MLP.
    - The sample enters by one linear map of disjoint parts, E = Q R with Q orthonormal: J = J' R' Q' has the singular
      values of J' R', which has min(D, P) columns for each part, and Q need not be applied.

    Args:
      block: Function from the weights of a block to the block.
      blocks: Stacked weights of the blocks through which all tokens pass.
      head: Function of the tokens after these blocks, [N, D] -> the embedding [K].
      norm: Layer norm of each token before the first block, or None.
      tokens: Tokens [N, D], of which those of the grid have positions, and `prefix` others precede them.
      kernel: E, the map from the P numbers of a part to a token, [P, D].
      prefix: Number of tokens before those of the grid.
      dim: Width of the embedding, K.
      chunk: Number of gradients at once in an attention; None for as many as fit into memory.
      platform: Platform for which the program is compiled, `cpu`, `gpu` or `tpu`.
      memory: Bytes of memory of the device for which it is compiled; None asks the devices of this process.

    Returns:
      [K, (N - prefix) min(D, P)]; on a TPU [K, (N - prefix) P], without Q R = E.
    """
    room = budget(CHUNK_BYTES, platform, memory)

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
    return jnp.einsum("nkd,rd->knr", grads, _entrance(kernel, platform)).reshape(dim, -1)


def _entrance(kernel: Array, platform: str) -> Array:
    """Return R' of kernel [P, D] = Q R, with Q orthonormal: [min(D, P), D]. On a TPU the kernel itself, [P, D].

    A TPU's compiler refuses a float64 QR decomposition in a program that is divided among several chips (LOG.md).
    """
    if platform == "tpu":
        return kernel
    with jax.enable_x64(True):  # otherwise the rounding of R would add to that of the products
        return jnp.linalg.qr(kernel.astype(jnp.float64), mode="r").astype(kernel.dtype)


def _block_backward(b: Any, grads: Array, x: Array, y: Array, chunk: int | None, room: int) -> Array:
    """Convert gradients [N, K, D] after a block to gradients before it.

    Args:
      b: Block.
      grads: Gradients [N, K, D].
      x: Tokens [N, D] before the block.
      y: Tokens [N, D] between its attention and its MLP.
      chunk: As in `jacobian_factor`.
      room: Bytes for the arrays that are alive at once.
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
    """Convert gradients [K, D] with respect to a normed token to gradients with respect to the token [D]."""
    pull = jax.vjp(lambda t: norm(t[None])[0], token)[1]
    return jax.vmap(lambda g: pull(g)[0])(grads)


def _by_chunks(pull: Callable[[Array], tuple[Array]], rows: Array, chunk: int | None, room: int) -> Array:
    """Apply a linear map of one gradient, [A, D] -> [N, D], to many, some at a time: [A, K, D] -> [N, K, D].

    If the leading axis A of `rows` is 1, the map takes gradients without it.
    """
    first = rows[0, 0] if rows.shape[0] == 1 else rows[:, 0]
    count = rows.shape[1]
    if chunk is None:
        chunk = max(1, room // live_bytes(pull, first))
    chunk = even(count, chunk)
    out = jax.eval_shape(pull, first)[0]

    def body(i: Array, done: Array) -> Array:
        # The last chunk overlaps the previous one if the chunks do not divide the number of gradients.
        start = jnp.minimum(i * chunk, count - chunk)
        part = jax.lax.dynamic_slice_in_dim(rows, start, chunk, axis=1)
        part = part[0] if rows.shape[0] == 1 else part
        result = jax.vmap(lambda g: pull(g)[0], in_axes=0 if part.ndim == 2 else 1, out_axes=1)(part)
        return jax.lax.dynamic_update_slice_in_dim(done, result, start, axis=1)

    done = jnp.zeros((out.shape[0], count, *out.shape[1:]), out.dtype)
    return jax.lax.fori_loop(0, -(-count // chunk), body, done)
