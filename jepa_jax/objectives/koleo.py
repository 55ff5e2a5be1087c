"""Nearest-neighbour entropy of the embeddings."""

import jax
import jax.numpy as jnp
from jax import Array


def koleo(z: Array, key: Array) -> Array:
    """Return -mean_i log min_{j != i} |z_i - z_j|, averaged over views.

    The Kozachenko-Leonenko estimate of the differential entropy, up to sign, scale and constant, as used in DINOv2
    (Oquab et al., arXiv 2304.07193, section 4) after Sablayrolles et al., arXiv 1806.03198, eq. 2.

    Args:
      z: Embeddings [V, B, K] on the unit sphere.
      key: Unused.

    Returns:
      A scalar.
    """
    del key

    def one_view(z: Array) -> Array:
        similar = jnp.where(jnp.eye(z.shape[0], dtype=bool), -jnp.inf, z @ z.T)
        neighbour = jax.lax.stop_gradient(jnp.argmax(similar, axis=1))
        # Computed from the difference, because 2 - 2 cos loses all digits for close pairs.
        square = jnp.sum((z - z[neighbour]) ** 2, axis=1)
        return -0.5 * jnp.mean(jnp.log(square + 1e-12))

    return jnp.mean(jax.vmap(one_view)(z))
