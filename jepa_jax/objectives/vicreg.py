"""Variance and covariance regularisation (the anti-collapse part of VICReg)."""

import jax
import jax.numpy as jnp
from jax import Array


def vicreg(z: Array, key: Array) -> Array:
    """Return mean_k max(0, 1 - std_k) + (1/K) sum_{k != l} cov_kl^2 / 25, averaged over views.

    Bardes et al., "VICReg", arXiv 2105.04906, eq. 1-4, with the paper's proportions 25 : 25 : 1 of invariance, variance
    and covariance divided by 25. The paper's invariance is the prediction term of this library.

    Args:
      z: Embeddings [V, B, K].
      key: Unused.

    Returns:
      A scalar, at least 0.
    """
    del key

    def one_view(z: Array) -> Array:
        centred = z - jnp.mean(z, axis=0, keepdims=True)
        covariance = centred.T @ centred / (z.shape[0] - 1)
        variance = jnp.diagonal(covariance)
        hinge = jnp.mean(jax.nn.relu(1 - jnp.sqrt(variance + 1e-4)))
        off_diagonal = jnp.sum(covariance**2) - jnp.sum(variance**2)
        return hinge + off_diagonal / z.shape[1] / 25

    return jnp.mean(jax.vmap(one_view)(z))
