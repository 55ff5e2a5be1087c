"""Uniformity on the sphere."""

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.objectives.pairwise import off_diagonal_log_mean_exp


def uniformity(z: Array, key: Array, *, temperature: float = 2.0) -> Array:
    """Return log E exp(-t |z_i - z_j|^2) over pairs i != j, averaged over views.

    Wang & Isola, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere", arXiv 2005.10242, eq. 5. It is minimal for the uniform distribution on the sphere.

    Args:
      z: Embeddings [V, B, K] on the unit sphere.
      key: Unused.
      temperature: t, the inverse width of the Gaussian kernel; 2 in the paper.

    Returns:
      A scalar, at most 0.
    """
    del key

    def one_view(z: Array) -> Array:
        # |a - b|^2 = 2 - 2 a.b on the sphere.
        # By symmetry the gradient through one side is half of the whole. The other half would cost a product with a
        # transposed [B, B], three times as much as everything else. This is exact to first order, which training needs.
        half = off_diagonal_log_mean_exp(temperature * (2 * z @ jax.lax.stop_gradient(z).T - 2))
        return 2 * half - jax.lax.stop_gradient(half)

    return jnp.mean(jax.vmap(one_view)(z))
