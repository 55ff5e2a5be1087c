"""Singular values of a Jacobian, or only the sum of their logarithms.

A Jacobian's spectrum may span eight decades (67 to 2.5e-6 in a ViT-L/14). Every method here keeps the sum of the
logarithms within 0.01 nats of the exact sum for the same matrix on such a spectrum, and all of them work in float64 for
that reason. On a geometric spectrum of that span, float32 has an error of 0.2 nats in an SVD and of 5 in a QR
decomposition; a Gram matrix J J^T, which squares the span, has an error of 0.3 even in float64 if it is decomposed only
once (measured, LOG.md).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Method = Literal["auto", "svd", "qr", "gram64"]
METHODS = ("auto", "svd", "qr", "gram64")

MAX_DIRECT_RANK = 32  # up to this many singular values a GPU decomposes whole batches at once
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
        # XLA's compiler takes minutes for it on one device, and refuses it where a program is divided among several.
        raise ValueError("method qr needs a float64 decomposition, which a TPU's compiler refuses; use gram64 or svd")
    if method != "auto":
        return method
    # LAPACK's SVD of the triangle from QR costs a tenth of that QR, so omitting it would gain nothing on CPU. A GPU is
    # slow at both, but fast at float64 products. Small matrices are batched efficiently on every platform. A TPU only
    # imitates float64 products, but its host could not decompose whole Jacobians as fast as the chips make them.
    return "gram64" if platform == "tpu" or (platform == "gpu" and rank > MAX_DIRECT_RANK) else "svd"


def values(j: Array, method: Method, platform: str) -> Array:
    """Return the singular values of j [K, D] by `svd` or `gram64`: [R], descending, R = min(K, D), in j's dtype."""
    if platform == "tpu":
        return on_host(j) if method == "svd" or max(j.shape) < WIDE * min(j.shape) else _gram64_and_host(j)
    if method == "gram64":
        return _gram64(j)
    with jax.enable_x64(True):  # enabled only here, so that a caller's arrays stay in float32
        return _svd(j.astype(jnp.float64)).astype(j.dtype)


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
        a = (j if j.shape[0] <= j.shape[1] else j.T).astype(jnp.float64)
        u = _joined(call(directions, (rank, rank, 2), a @ a.T))
        b = u.T @ a
        length = jnp.sqrt(jnp.sum(b * b, axis=1))
        b = b / jnp.where(length > 0, length, 1.0)[:, None]
        return call(lengths, (rank,), b @ b.T, length).astype(j.dtype)


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


def log_volume(j: Array) -> tuple[Array, Array, Array]:
    """Compute sum_r log sigma_r of j [K, D] by QR.

    Returns:
      `sum log |diag R|` in nats; 1 / |R^-1|_F, a lower bound of all singular values; and R itself, in float64.
    """
    with jax.enable_x64(True):
        r = _triangle(j.astype(jnp.float64))
        inverse = jax.scipy.linalg.solve_triangular(r, jnp.eye(len(r), dtype=r.dtype))
        total = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(r))))
        return total.astype(j.dtype), (1 / jnp.linalg.norm(inverse)).astype(j.dtype), r


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
        length = jnp.linalg.norm(b, axis=1)
        b = b / jnp.where(length > 0, length, 1.0)[:, None]
        w, v = jnp.linalg.eigh(b @ b.T)
        factor = length[:, None] * v * jnp.sqrt(jnp.maximum(w, 0.0))[None]
        return jnp.linalg.svd(factor, full_matrices=False, compute_uv=False).astype(j.dtype)
