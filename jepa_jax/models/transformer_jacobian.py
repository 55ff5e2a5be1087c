"""Jacobian of a transformer, computed block by block with all gradients at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.density.jacobian import even
from jepa_jax.density.products import product
from jepa_jax.memory import budget, live_bytes
from jepa_jax.models.transformer import at_least_float32, attention_weights

# Memory for what one token's map or one chunk of gradients needs: on CPU what stays in its caches.
CHUNK_BYTES = {"cpu": 16 * 2**20}
# Tokens are filled up to a multiple of this, because a GPU's matrix units want whole multiples of eight numbers. The
# tokens that are added are attended to by none.
TOKEN_MULTIPLES = {"gpu": 8}


def jacobian_factor(
    block: Callable[[Array], Any],
    depth: int,
    head: Callable[[Array], Array],
    norm: Callable[[Array], Array] | None,
    tokens: Array,
    kernel: Array,
    prefix: int,
    dim: int,
    chunk: int | None,
    platform: str,
    memory: int | None = None,
) -> tuple[Array, Array]:
    """Return the embedding of one sample and a matrix with the singular values of its Jacobian.

    This is reverse mode in about two thirds of its arithmetic: all K gradients, [N, K, D], pass through one block after
    another, instead of one gradient after another through all blocks.

    - Between two attentions every token is independent. Its map y + W2 g(W1 norm(y)) has a D x D Jacobian M, which
      costs 8 D^3 to form and 2 K D^2 to apply to K gradients; passing them through W2 and W1 costs 16 K D^2.
    - The gradient of a query in an attention is the product of that of its result and a matrix of the size of a head,
      which depends on no gradient (`_attention_pull`).
    - If one token is read, the last block has one query and one row in its MLP.
    - The sample enters by one linear map of disjoint parts, E = Q R with Q orthonormal: J = J' R' Q' has the singular
      values of J' R', which has min(D, P) columns for each part, and Q need not be applied.

    Args:
      block: Function from the index of a block to the block.
      depth: Number of blocks, from the first, through which all tokens pass.
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
      The embedding [K], and the matrix: [K, (N - prefix) min(D, P)], elsewhere than on CPU [K, (N - prefix) P].
    """
    room, count = budget(CHUNK_BYTES, platform, memory), len(tokens)
    added = -count % TOKEN_MULTIPLES.get(platform, 1)
    valid = jnp.arange(count + added) < count if added else None

    def backward(grads: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
        b, x, y = block(inputs[0]), *inputs[1:]
        grads = _before_mlp(b, y, grads, room, platform)
        return _by_chunks(_attention_pull(b, x, valid, platform), grads, chunk, room), None

    x = jnp.pad(tokens if norm is None else norm(tokens), ((0, added), (0, 0)))
    x, states = _forward(block, depth, x, valid)
    z, pull = jax.vjp(lambda x: head(x[:count]), x)
    many = jax.vmap(pull, out_axes=1)
    grads = _by_chunks(lambda rows: many(rows[0])[0], jnp.eye(dim, dtype=x.dtype)[None], chunk, room)
    grads = jax.lax.scan(backward, grads, (jnp.arange(depth), *states), reverse=True)[0][prefix:count]
    if norm is not None:
        grads = _through(norm, tokens[prefix:], grads)
    return z, product("nkd,rd->knr", grads, _entrance(kernel, platform), platform).reshape(dim, -1)


def _forward(
    block: Callable[[Array], Any], depth: int, x: Array, valid: Array | None
) -> tuple[Array, tuple[Array, Array]]:
    """Return the tokens [N, D] after all blocks, and those before the attention and before the MLP of each block."""

    def one(x: Array, i: Array) -> tuple[Array, tuple[Array, Array]]:
        b = block(i)
        y = x + b.attention(x, valid=valid)
        return y + b.added(y), (x, y)

    return jax.lax.scan(one, x, jnp.arange(depth))


def _entrance(kernel: Array, platform: str) -> Array:
    """Return R' of kernel [P, D] = Q R, with Q orthonormal: [min(D, P), D]. Elsewhere than on CPU the kernel, [P, D].

    A TPU's compiler refuses a float64 QR decomposition in a program that is divided among several chips (LOG.md), and a
    GPU takes longer for it than R' saves.
    """
    if platform != "cpu":
        return kernel
    with jax.enable_x64(True):  # otherwise the rounding of R would add to that of the products
        return jnp.linalg.qr(kernel.astype(jnp.float64), mode="r").astype(kernel.dtype)


def _before_mlp(b: Any, y: Array, grads: Array, room: int, platform: str) -> Array:
    """Convert gradients [N, K, D] after y + MLP(y) to gradients before it.

    Args:
      b: Block.
      y: Tokens [N, D] between its attention and its MLP.
      grads: Gradients [N, K, D].
      room: Bytes for the arrays that are alive at once.
      platform: As in `jacobian_factor`.
    """
    last, first = b.output()[0].T, _after_norm(b.norm2, b.fc1.kernel[...].T)
    preactivations = b.fc1(b.norm2(y))
    # The activation treats every hidden number by itself, so that its derivative is that by which it multiplies ones.
    slopes = jax.vmap(lambda u: jax.vjp(b.activate, u)[1](jnp.ones(last.shape[1], u.dtype))[0])(preactivations)
    rows = jnp.tile(last, (1, first.shape[0] // last.shape[1]))  # twice for a gate

    def of(y: Array, slopes: Array, grads: Array) -> Array:
        bound = jnp.max(jnp.abs(rows)) * jnp.max(jnp.abs(slopes))
        maps = product("nif,fd->nid", rows[None] * slopes[:, None], first, platform, largest=bound)
        return grads + product("nkd,nde->nke", grads, _before_norm(b.norm2, y, maps, platform), platform)

    size = even(len(y), max(1, room // (3 * last.shape[0] * first.nbytes // first.shape[1])))
    if size == len(y):
        return of(y, slopes, grads)
    whole = len(y) // size * size

    def some(start: Any, count: int, grads: Array) -> Array:
        cut = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=count)
        return jax.lax.dynamic_update_slice_in_dim(grads, of(cut(y), cut(slopes), cut(grads)), start, axis=0)

    # In place: a map over the tokens would copy the gradients in and out.
    grads = jax.lax.fori_loop(0, whole // size, lambda i, grads: some(i * size, size, grads), grads)
    return grads if whole == len(y) else some(whole, len(y) - whole, grads)


def _attention_pull(b: Any, x: Array, valid: Array | None, platform: str) -> Callable[[Array], Array]:
    """Return the map of gradients after x + attention(x) to gradients before it: [N, k, D] -> [N, k, D].

    With the weights P of a head, its queries Q, keys, values V and results O = P V, a gradient G of O gives the logits
    of query q and key m the gradient P_qm G_q . (V_m - O_q). Summed over m with the keys, the gradient of the query is
    G_q A_q, where A_q = sum_m P_qm (V_m - O_q) K_m^T depends on no gradient and is formed once: one product of the
    size N^2 k D less than differentiating the attention takes.

    Args:
      b: Block.
      x: Tokens [N, D] before it.
      valid: As in `Block.attention`.
      platform: As in `jacobian_factor`.
    """
    q, k, v = b.heads_of(x)
    heads, size = q.shape[1:]
    weights = attention_weights(q, k, valid)
    result = jnp.einsum("hqm,mhd->qhd", weights, v)
    keys = jnp.einsum("hqm,mhe->qhe", weights, k)
    query_map = jnp.einsum("hqm,mhde->qhde", weights, v[..., None] * k[..., None, :])
    query_map = (query_map - result[..., None] * keys[..., None, :]) * size**-0.5
    out = b.proj.kernel[...] if b.scale1 is None else b.proj.kernel[...] * b.scale1[...][None]
    per_head = (weights, *(jnp.swapaxes(a, 0, 1) for a in (q * size**-0.5, v, result, query_map)))
    out = out.reshape(heads, size, -1)
    enter = _after_norm(b.norm1, b.qkv.kernel[...].reshape(-1, 3, heads, size).transpose(2, 1, 3, 0))
    enter = enter.reshape(3 * heads * size, -1)

    def of_head(head: tuple[Array, ...]) -> Array:
        g, weights, q, v, result, query_map = head
        to_values = product("qm,qkd->mkd", weights, g, platform)
        along = jnp.sum(g * result[:, None], axis=-1)
        # The sum over queries is over the last axis, as matrix units want it.
        if platform == "cpu":  # for whose loops it is slow to reorder g before the product instead
            logits = (product("md,qkd->mqk", v, g, platform) - along[None]).swapaxes(1, 2)
        else:
            logits = product("md,kqd->mkq", v, g.swapaxes(0, 1), platform) - along.T[None]
        bound = 2 * size * jnp.max(jnp.abs(g)) * jnp.max(jnp.abs(v))  # of results too, which are means of values
        to_keys = product("mkq,qd->mkd", weights.T[:, None] * logits, q, platform, largest=bound)
        to_queries = product("qkd,qde->qke", g, query_map, platform)
        return jnp.concatenate([to_queries, to_keys, to_values], axis=-1)

    def pull(grads: Array) -> Array:
        if platform == "gpu":  # all heads at once: factors are read and divided into parts once, in few kernels
            joined = jax.vmap(of_head)((product("nkd,hed->hnke", grads, out, platform), *per_head))
            # Otherwise the compiler divides into parts and reorders in one kernel, which takes twice as long.
            joined = jax.lax.optimization_barrier(jnp.moveaxis(joined, 0, 2).reshape(*grads.shape[:2], -1))
            added = product("nkf,fd->nkd", joined, enter, platform)
        else:  # head by head, so that the first products stay in the caches
            each = zip(out, *per_head, strict=True)
            joined = [of_head((jnp.einsum("nkd,ed->nke", grads, o), *rest)) for o, *rest in each]
            added = jnp.concatenate(joined, axis=-1) @ enter
        return grads + _before_norm(b.norm1, x, added, platform)

    return pull


def _after_norm(norm: Any, rows: Array) -> Array:
    """Return rows [..., D], which are linear maps of a normed token, as maps of the token before gain and centring."""
    rows = rows * norm.scale[...].reshape((1,) * (rows.ndim - 1) + (-1,))
    return rows - jnp.mean(rows, axis=-1, keepdims=True)


def _before_norm(norm: Any, tokens: Array, grads: Array, platform: str) -> Array:
    """Convert gradients [N, K, D] that passed `_after_norm` to gradients with respect to the tokens [N, D].

    With the centred token c and u = s c, s = (mean c^2 + epsilon)^(-1/2), the derivative du/dc is s (I - u u^T / D).
    """
    wide = at_least_float32(tokens)
    centred = wide - jnp.mean(wide, axis=1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=1, keepdims=True) + norm.epsilon)
    unit = (centred * scale).astype(grads.dtype)[:, None]
    if platform == "cpu":  # whose compiler would write down the products before it adds them
        along = jnp.einsum("nkd,nd->nk", grads, unit[:, 0])[..., None] / grads.shape[-1]
    else:
        along = jnp.mean(grads * unit, axis=-1, keepdims=True)
    return scale.astype(grads.dtype)[..., None] * (grads - unit * along)


def _through(norm: Callable[[Array], Array], tokens: Array, grads: Array) -> Array:
    """Convert gradients [N, K, D] with respect to normed tokens to gradients with respect to the tokens [N, D]."""

    def one(token: Array, grads: Array) -> Array:
        pull = jax.vjp(lambda t: norm(t[None])[0], token)[1]
        return jax.vmap(lambda g: pull(g)[0])(grads)

    return jax.vmap(one)(tokens, grads)


def _by_chunks(pull: Callable[[Array], Array], rows: Array, chunk: int | None, room: int) -> Array:
    """Apply a linear map of gradients, [A, k, D] -> [N, k, D] for any k, to some of K at a time: -> [N, K, D].

    Args:
      pull: Map.
      rows: Gradients [A, K, D].
      chunk: k; None for as many as `room` holds.
      room: Bytes for the arrays that are alive at once.
    """
    count = rows.shape[1]
    if chunk is None:
        one, two = (live_bytes(pull, rows[:, :1].repeat(n, axis=1)) for n in (1, 2))
        chunk = max(1, (room - one) // max(1, two - one))
    chunk = even(count, chunk)
    if chunk == count:
        return pull(rows)
    out = jax.eval_shape(pull, rows[:, :1])

    def body(i: Array, done: Array) -> Array:
        # The last chunk overlaps the previous one if the chunks do not divide the number of gradients.
        start = jnp.minimum(i * chunk, count - chunk)
        part = jax.lax.dynamic_slice_in_dim(rows, start, chunk, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(done, pull(part), start, axis=1)

    done = jnp.zeros((out.shape[0], count, *out.shape[2:]), out.dtype)
    return jax.lax.fori_loop(0, -(-count // chunk), body, done)
