"""Redundancy reduction (Barlow Twins)."""

import jax.numpy as jnp
from jax import Array

OFF_DIAGONAL_WEIGHT = 5e-3


def barlow(z: Array, key: Array) -> Array:
    """Return sum_k (1 - C_kk)^2 + 0.005 sum_{k != l} C_kl^2, with C the cross-correlation of the two views.

    Zbontar et al., "Barlow Twins", arXiv 2103.03230, eq. 1 and 2. The term depends only on correlations, so it fixes
    neither the scale nor the mean of the embedding.

    Args:
      z: Embeddings [V, B, K] of V = 2 views.
      key: Unused.

    Returns:
      A scalar, at least 0.
    """
    del key
    centred = z - jnp.mean(z, axis=1, keepdims=True)
    normed = centred / jnp.sqrt(jnp.mean(centred**2, axis=1, keepdims=True) + 1e-6)
    cross = normed[0].T @ normed[1] / z.shape[1]
    diagonal = jnp.diagonal(cross)
    off_diagonal = jnp.sum(cross**2) - jnp.sum(diagonal**2)
    return jnp.sum((1 - diagonal) ** 2) + OFF_DIAGONAL_WEIGHT * off_diagonal
