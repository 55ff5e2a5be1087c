"""Singular values of a Jacobian, or only the sum of their logarithms.

A Jacobian's spectrum may span eight decades (67 to 2.5e-6 in a ViT-L/14). Every method here keeps the sum of the
logarithms within 0.01 nats of the exact one of the same matrix there, and all of them work in float64 for that: on a
geometric spectrum of that span float32 is off by 0.2 nats in an SVD and by 5 in a QR decomposition, and a Gram matrix
J J^T, which squares the span, by 0.3 even in float64 if it is decomposed only once (measured, LOG.md).
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Method = Literal["auto", "svd", "qr", "gram64"]
METHODS = ("auto", "svd", "qr", "gram64")

QR_FIRST = 32  # below this many singular values a decomposition in one go is faster


def resolve_method(method: Method, rank: int, *, values: bool, platform: str) -> Method:
    """The method that `auto` means.

    Args:
      rank: R.
      values: whether the single values are wanted, or their sum of logarithms is enough.
      platform: that the program is for, `cpu`, `gpu` or `tpu`.

    Raises:
      ValueError: an unknown method, `qr` where values are wanted, or one that a TPU, without float64, cannot do.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if method == "qr" and values:
        raise ValueError("method qr gives the sum of the logarithms only, no singular values; use svd or gram64")
    if method in ("qr", "gram64") and platform == "tpu":
        raise ValueError(f"method {method} needs float64, which a TPU does not have; use svd, which the host does")
    if method != "auto":
        return method
    # LAPACK's SVD of the triangle that QR leaves costs a tenth of that QR, so on CPU there is nothing to gain by
    # leaving it out. A GPU is slow at both, and fast at float64 products. Small matrices are batched well everywhere.
    return "gram64" if platform == "gpu" and rank > QR_FIRST else "svd"


def values(j: Array, method: Method, platform: str) -> Array:
    """Singular values of j [K, D] by `svd` or `gram64`: [R], descending, R = min(K, D), in j's dtype."""
    if method == "gram64":
        return _gram64(j)
    if platform == "tpu":
        return on_host(j)
    with jax.enable_x64(True):  # here, so that a caller's arrays stay in float32
        return _svd(j.astype(jnp.float64)).astype(j.dtype)


def on_host(j: Array) -> Array:
    """As `values`, by LAPACK on the host, for devices without float64."""

    def decompose(j: np.ndarray) -> np.ndarray:
        return np.linalg.svd(np.asarray(j, np.float64), compute_uv=False).astype(j.dtype)

    shape = jax.ShapeDtypeStruct((min(j.shape),), j.dtype)
    return jax.pure_callback(decompose, shape, j, vmap_method="expand_dims")


def log_volume(j: Array) -> tuple[Array, Array, Array]:
    """sum_r log sigma_r of j [K, D] by QR.

    Returns:
      `sum log |diag R|`, in nats; 1 / |R^-1|_F, which no singular value is below; and R itself, in float64.
    """
    with jax.enable_x64(True):
        r = _triangle(j.astype(jnp.float64))
        inverse = jax.scipy.linalg.solve_triangular(r, jnp.eye(len(r), dtype=r.dtype))
        total = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(r))))
        return total.astype(j.dtype), (1 / jnp.linalg.norm(inverse)).astype(j.dtype), r


def _triangle(j: Array) -> Array:
    """R of the QR decomposition of j, lying or standing: [R, R], with j's singular values."""
    return jnp.linalg.qr(j if j.shape[0] >= j.shape[1] else j.T, mode="r")


def _svd(j: Array) -> Array:
    short, long = sorted(j.shape)
    if short > QR_FIRST and long >= 2 * short:
        j = _triangle(j)  # as exact, and twice as fast as to give all of j to LAPACK's SVD
    return jnp.linalg.svd(j, compute_uv=False)


def _gram64(j: Array) -> Array:
    """Singular values from two Gram matrices in float64, all of it matrix products but for small decompositions.

    The first gives the directions: with J J^T = U diag(w) U^T the rows of B = U^T J are orthogonal up to rounding and
    nearly as long as the singular values, each known to float64 accuracy relative to sigma_1. The second Gram matrix,
    of those rows scaled to unit length, is close to the identity, so its decomposition loses nothing to the span of
    the spectrum, and corrects what rounding left between the rows.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        a = (j if j.shape[0] <= j.shape[1] else j.T).astype(jnp.float64)
        _, u = jnp.linalg.eigh(a @ a.T)
        b = u.T @ a
        length = jnp.linalg.norm(b, axis=1)
        b = b / jnp.where(length > 0, length, 1.0)[:, None]
        w, v = jnp.linalg.eigh(b @ b.T)
        factor = length[:, None] * v * jnp.sqrt(jnp.maximum(w, 0.0))[None]
        return jnp.linalg.svd(factor, compute_uv=False).astype(j.dtype)
