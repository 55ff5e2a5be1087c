"""Repulsive half of InfoNCE."""

import jax
import jax.numpy as jnp
from jax import Array


def infonce(z: Array, key: Array, *, temperature: float = 0.2) -> Array:
    """Return mean_i log sum_j exp(z_i . z'_j / tau), averaged over both directions, minus log B.

    The contrastive loss of van den Oord et al. (arXiv 1807.03748, eq. 4) on the sphere is
    -z_i . z'_i / tau + log sum_j exp(z_i . z'_j / tau). Since |z - z'|^2 = 2 - 2 z . z', the prediction term divided by
    2 tau is its attractive half, so `prediction + 2 tau * infonce` is InfoNCE times 2 tau, up to a constant. The
    default weight is therefore 2 tau.

    Args:
      z: Embeddings [V, B, K] on the unit sphere, of V = 2 views. Of V = 1 each sample is compared with the batch, as if
        the other view agreed with it.
      key: Unused.
      temperature: tau.

    Returns:
      A scalar.
    """
    del key
    similar = z[0] @ z[-1].T / temperature
    both = 0.5 * (jax.nn.logsumexp(similar, axis=0) + jax.nn.logsumexp(similar, axis=1))
    return jnp.mean(both) - jnp.log(z.shape[1])
