"""Singular values of a Jacobian, or only the sum of their logarithms.

A Jacobian's spectrum may span eight decades (67 to 2.5e-6 in a ViT-L/14). Every method here keeps the sum of the
logarithms within 0.01 nats of the exact sum for the same matrix on such a spectrum, and all of them work in float64 for
that reason. On a geometric spectrum of that span, float32 has an error of 0.2 nats in an SVD and of 5 in a QR
decomposition; a Gram matrix J J^T, which squares the span, has an error of 0.3 even in float64 if it is decomposed only
once (measured, LOG.md).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Method = Literal["auto", "svd", "qr", "gram64"]
METHODS = ("auto", "svd", "qr", "gram64")

MAX_DIRECT_RANK = 32  # up to this many singular values a GPU decomposes whole batches at once
EPS64 = 2.0**-52  # spacing of float64 numbers just above 1
MAX_LOSS = 1e-3  # nats that one Gram matrix may cost, by an upper bound
MAX_LEAK = 1e-2  # of null directions relative to the other singular values, which costs its square in nats
INVERSE_ITERATIONS = 4
GRAM_COLUMNS = 4096  # of a block in the sum of a Gram matrix
LANES = 128  # columns that a TPU's memory holds beside each other
# From this rank and this ratio of the sides on it matters on a CPU that products are faster than a QR decomposition.
MIN_GRAM_RANK, MIN_GRAM_RATIO = 256, 16
WIDE = 4  # ratio of the sides of a matrix from which moving its Gram matrices is cheaper than moving it


def resolve_method(method: Method, rank: int, *, values: bool, platform: str) -> Method:
    """Return the method that `auto` selects.

    Args:
      method: `auto` or a method; a method is returned unchanged.
      rank: R, the number of singular values.
      values: Whether the individual values are needed, or only the sum of their logarithms.
      platform: Platform that the program is compiled for: `cpu`, `gpu` or `tpu`.

    Raises:
      ValueError: If the method is unknown, is `qr` although values are needed, or is `qr` on a TPU.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if method == "qr" and values:
        raise ValueError("method qr gives only the sum of the logarithms, no singular values; use svd or gram64")
    if method == "qr" and platform == "tpu":
        # XLA's compiler refuses float64 decompositions where a program is divided among several chips.
        raise ValueError("method qr needs a float64 decomposition, which a TPU's compiler refuses; use gram64 or svd")
    if method != "auto":
        return method
    # LAPACK's SVD of the triangle from QR costs a tenth of that QR, so omitting it would gain nothing on CPU. A GPU is
    # slow at both (29 and 27 ms for 384 x 384 on an H200), but fast at float64 products and Cholesky decompositions
    # (3 ms for the volume of 384 x 150,528). Small matrices are batched efficiently on every platform. A TPU only
    # imitates float64 products, but its host could not decompose whole Jacobians as fast as the chips make them.
    if platform == "cpu" or (platform == "gpu" and rank <= MAX_DIRECT_RANK):
        return "svd"
    return "gram64" if values or platform == "tpu" else "qr"


def values_of_many(j: Array, method: Method, platform: str, null: int = 0) -> Array:
    """Return the singular values of matrices j [B, K, D], [B, R], as `values` does."""
    one = partial(values, method=method, platform=platform, null=null)
    # One after another where a branch is taken for each: `vmap` would compute both.
    return jax.lax.map(one, j) if method == "svd" and _is_long(j.shape[1:], platform) else jax.vmap(one)(j)


def values(j: Array, method: Method, platform: str, null: int = 0) -> Array:
    """Return the singular values of j [K, D] by `svd` or `gram64`: [R], descending, R = min(K, D), in j's dtype.

    Args:
      j: Matrix.
      method: Method.
      platform: Platform that the program is compiled for: `cpu`, `gpu` or `tpu`.
      null: Number of smallest singular values that are null by construction, which need not be exact.
    """
    if platform == "tpu":
        return on_host(j) if method == "svd" or max(j.shape) < WIDE * min(j.shape) else _gram64_and_host(j)
    if method == "gram64":
        return _gram64(j)
    with jax.enable_x64(True):  # enabled only here, so that a caller's arrays stay in float32
        if _is_long(j.shape, platform):
            return _by_products(j if j.shape[0] <= j.shape[1] else j.T, null).astype(j.dtype)
        return _svd(j.astype(jnp.float64)).astype(j.dtype)


def _is_long(shape: tuple[int, ...], platform: str) -> bool:
    """Return whether a CPU decomposes matrices of this shape faster by products than by LAPACK's QR."""
    return platform == "cpu" and min(shape) >= MIN_GRAM_RANK and max(shape) >= MIN_GRAM_RATIO * min(shape)


def _by_products(a: Array, null: int) -> Array:
    """Return the singular values of a [R, C] from one Gram matrix, or as `_gram64` where that is not exact enough.

    The bound is that of `_by_cholesky`, without the null values.
    """
    w, u = jnp.linalg.eigh(_gram(a))
    loss = len(a) * EPS64 * jnp.sum(w) * jnp.sum(1 / w[null:])
    once, twice = (lambda: jnp.sqrt(jnp.maximum(w[::-1], 0))), (lambda: _of_second_gram(_gram(a, u.T)))
    return jax.lax.cond((w[null] > 0) & (loss < MAX_LOSS), once, twice)


def on_host(j: Array) -> Array:
    """Compute the singular values as `values` does, by LAPACK on the host, for devices without float64.

    A host that serves several chips cannot follow with large matrices.
    """

    def decompose(j: np.ndarray) -> np.ndarray:
        return _lapack(np.asarray(j, np.float64)).astype(j.dtype)

    shape = jax.ShapeDtypeStruct((min(j.shape),), j.dtype)
    return jax.pure_callback(decompose, shape, j, vmap_method="expand_dims")


def _gram64_and_host(j: Array) -> Array:
    """Compute singular values as `_gram64` does, with products on the device and decompositions by LAPACK on the host.

    Only matrices [R, R] leave the device, as pairs of float32 numbers. This is for a TPU, which imitates float64 by
    such pairs, with about 48 bits: enough for both Gram matrices, of which the second corrects the first.
    """
    rank = min(j.shape)

    def eigh(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(np.nan_to_num(_joined(np.asarray(gram))))

    def directions(gram: np.ndarray) -> np.ndarray:
        return _split(eigh(gram)[1])

    def lengths(gram: np.ndarray, length: np.ndarray) -> np.ndarray:
        w, v = eigh(gram)  # a length that is not finite leaves the result without one
        return _lapack(_joined(np.asarray(length))[..., :, None] * v * np.sqrt(np.maximum(w, 0))[..., None, :]).astype(
            np.float32
        )

    def call(f: Callable[..., np.ndarray], shape: tuple[int, ...], *args: Array) -> Array:
        return jax.pure_callback(
            f, jax.ShapeDtypeStruct(shape, jnp.float32), *map(_split, args), vmap_method="expand_dims"
        )

    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        a = j if j.shape[0] <= j.shape[1] else j.T
        turned = _joined(call(directions, (rank, rank, 2), _gram(a))).T
        return call(lengths, (rank,), *_unit_rows(_gram(a, turned))).astype(j.dtype)


def _gram(a: Array, turned: Array | None = None) -> Array:
    """Return A A^T, or (T A)(T A)^T, in float64, for a [R, C] in float32 and T [R, R].

    The columns pass in blocks, because XLA's products of pairs on a TPU take nearly fifty times the memory of a factor,
    and because a CPU keeps a block in its caches.
    """
    blocks = -(-a.shape[1] // GRAM_COLUMNS)
    columns = -(-a.shape[1] // (blocks * LANES)) * LANES
    a = jnp.pad(a, ((0, 0), (0, blocks * columns - a.shape[1])))

    def add(i: Any, total: Array) -> Array:
        block = jax.lax.dynamic_slice_in_dim(a, i * columns, columns, axis=1).astype(jnp.float64)
        block = block if turned is None else turned @ block
        return total + block @ block.T

    return jax.lax.fori_loop(0, blocks, add, jnp.zeros((len(a), len(a))))


def _lapack(a: np.ndarray) -> np.ndarray:
    """Return the singular values of matrices [..., M, N]; NaN for one that is not finite, which LAPACK refuses."""
    finite = np.asarray(np.isfinite(a).all((-2, -1)))[..., None]
    return np.where(finite, np.linalg.svd(np.where(finite[..., None], a, 0), compute_uv=False), np.nan)


def _split(a: Any) -> Any:
    """Return float64 numbers as pairs of float32 numbers whose sums they are, [..., 2]."""
    high = a.astype(jnp.float32)
    xp = jnp if isinstance(a, Array) else np
    return xp.stack([high, (a - high.astype(jnp.float64)).astype(jnp.float32)], axis=-1)


def _joined(pair: Any) -> Any:
    """Return the sums of pairs of float32 numbers, [..., 2], in float64."""
    return pair[..., 0].astype(jnp.float64) + pair[..., 1].astype(jnp.float64)


def log_volume(j: Array, null: int, platform: str) -> tuple[Array, Array]:
    """Compute sum_r log sigma_r of j [K, D] from a triangular factor, without the singular values.

    On CPU that is R of a QR decomposition; on GPU it comes from Cholesky decompositions of Gram matrices, which are
    matrix products for the most part.

    Args:
      j: Matrix.
      null: Number of smallest singular values that are null by construction, which the sum leaves out.
      platform: Platform that the program is compiled for, `cpu` or `gpu`.

    Returns:
      The sum in nats; and a lower bound of the singular values in it, NaN if the sum may be wrong.

    Raises:
      ValueError: If `null` is not 0 on CPU.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        a = (j if j.shape[0] <= j.shape[1] else j.T).astype(jnp.float64)
        if platform == "cpu":
            if null:
                raise ValueError(f"method qr cannot tell {null} null directions from the rest; use svd or gram64")
            total, inverse = _of_triangle(_triangle(a).T)
            bound = 1 / jnp.linalg.norm(inverse)
        else:
            total, bound = _by_cholesky(a, null)
        return total.astype(j.dtype), bound.astype(j.dtype)


def _by_cholesky(a: Array, null: int) -> tuple[Array, Array]:
    """Compute `log_volume` of a [R, C], R <= C, from one Gram matrix, or from two if the spectrum needs it.

    A Cholesky factor L of the Gram matrix G = A A^T loses the small singular values where rounding G changes its small
    eigenvalues. Then X, the inverse of the factor of G + shift I, makes the rows of B = X A nearly orthogonal, and
    log det (A A^T) = log det (B B^T) - 2 log det X, whatever X is (shifted Cholesky QR, arXiv 1809.11085). Null
    directions U, found by inverse iteration, are filled up: the volume of G + s U U^T is that of the others times
    s^null.

    Args:
      a: Matrix in float64.
      null: As in `log_volume`.
    """
    rank = len(a)
    gram = a @ a.T
    trace = jnp.trace(gram)
    identity = jnp.eye(rank, dtype=a.dtype)
    shifted = jnp.linalg.cholesky(gram + 500 * EPS64 * trace * identity)
    filled = leak = jnp.zeros((rank, 0), a.dtype)
    if null:
        u = _null_directions(shifted, null)
        filled, leak = u * jnp.sqrt(trace / rank), u.T @ a
        gram = gram + filled @ filled.T
    total, inverse = _of_triangle(jnp.linalg.cholesky(gram))
    # Largest relative change of an eigenvalue of G by rounding, for a sum of R logarithms.
    loss = rank * EPS64 * trace * jnp.sum(inverse**2)

    def again() -> tuple[Array, Array]:
        x = _of_triangle(jnp.linalg.cholesky(gram + 500 * EPS64 * trace * identity))[1]
        b = jnp.concatenate([x @ a, x @ filled], axis=1)
        volume, inverse = _of_triangle(jnp.linalg.cholesky(b @ b.T))
        return volume - jnp.sum(jnp.log(jnp.diagonal(x))), inverse @ x

    total, inverse = jax.lax.cond(loss < MAX_LOSS, lambda: (total, inverse), again)  # NaN takes the second branch
    bound = 1 / jnp.linalg.norm(inverse)
    total = total - null * jnp.log(trace / rank) / 2
    return total, jnp.where(jnp.linalg.norm(leak) < MAX_LEAK * bound, bound, jnp.nan)


def _null_directions(shifted: Array, count: int) -> Array:
    """Return orthonormal columns [R, count] that span the null space of G, from a Cholesky factor of G + shift I."""
    u = jnp.asarray(np.random.default_rng(0).standard_normal((len(shifted), count)))
    for _ in range(INVERSE_ITERATIONS):
        u = jax.scipy.linalg.cho_solve((shifted, True), u)
        for _ in range(2):  # the second time for columns that are nearly parallel
            u = u / jnp.linalg.norm(u, axis=0)[None]
            u = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(u.T @ u), u.T, lower=True).T
    return u


def _of_triangle(lower: Array) -> tuple[Array, Array]:
    """Return the sum of the logs of the diagonal of a lower triangle, and its inverse."""
    inverse = jax.scipy.linalg.solve_triangular(lower, jnp.eye(len(lower), dtype=lower.dtype), lower=True)
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(lower)))), inverse


def _triangle(j: Array) -> Array:
    """Return R [R, R] of the QR decomposition of j or its transpose, with j's singular values."""
    return jnp.linalg.qr(j if j.shape[0] >= j.shape[1] else j.T, mode="r")


def _svd(j: Array) -> Array:
    short, long = sorted(j.shape)
    if long >= 2 * short:
        j = _triangle(j)  # as exact as LAPACK's SVD of all of j, and twice as fast
    # JAX allocates the vectors that it does not compute, of D x D numbers if they are to be a full basis.
    return jnp.linalg.svd(j, full_matrices=False, compute_uv=False)


def _gram64(j: Array) -> Array:
    """Compute singular values from two Gram matrices in float64, with matrix products and small decompositions only.

    The first Gram matrix gives the directions: with J J^T = U diag(w) U^T the rows of B = U^T J are orthogonal up to
    rounding and nearly as long as the singular values, each known to float64 accuracy relative to sigma_1. The second
    Gram matrix, of those rows scaled to unit length, is close to the identity. Its decomposition therefore does not
    suffer from the span of the spectrum, and it corrects what rounding left between the rows.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        a = (j if j.shape[0] <= j.shape[1] else j.T).astype(jnp.float64)
        _, u = jnp.linalg.eigh(a @ a.T)
        b = u.T @ a
        return _of_second_gram(b @ b.T).astype(j.dtype)


def _of_second_gram(gram: Array) -> Array:
    """Return the singular values of rows that are nearly orthogonal from their Gram matrix [R, R]."""
    gram, length = _unit_rows(gram)
    w, v = jnp.linalg.eigh(gram)
    return _svd(length[:, None] * v * jnp.sqrt(jnp.maximum(w, 0.0))[None])


def _unit_rows(gram: Array) -> tuple[Array, Array]:
    """Return the Gram matrix of rows that are scaled to unit length, and their lengths [R]."""
    length = jnp.sqrt(jnp.diagonal(gram))
    unit = jnp.where(length > 0, length, 1.0)
    return gram / jnp.outer(unit, unit), length
