"""Coding rate: the log-determinant of the covariance."""

import jax
import jax.numpy as jnp
from jax import Array

DISTORTION = 0.5  # eps; its square is the noise level below which directions do not count


def coding_rate(z: Array, key: Array) -> Array:
    """Return -(1/2) log det(I + K / eps^2 Cov(z)) + |mean|^2 / 2 + trace(Cov) / 2, averaged over views.

    The coding rate of Yu et al. (MCR2, arXiv 2006.08558, eq. 1) with eps = 0.5. There the embeddings are normalised;
    here they are free, and the second-moment terms of a standard normal bound them instead.

    Args:
      z: Embeddings [V, B, K].
      key: Unused.

    Returns:
      A scalar.
    """
    del key

    def one_view(z: Array) -> Array:
        mean = jnp.mean(z, axis=0, keepdims=True)
        covariance = (z - mean).T @ (z - mean) / z.shape[0]
        dim = z.shape[1]
        _, log_det = jnp.linalg.slogdet(jnp.eye(dim, dtype=z.dtype) + dim / DISTORTION**2 * covariance)
        return 0.5 * (jnp.sum(mean**2) + jnp.trace(covariance) - log_det)

    return jnp.mean(jax.vmap(one_view)(z))
