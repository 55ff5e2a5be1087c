"""First and second moments of a set of embeddings, and their effective rank."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Moments(NamedTuple):
    """Moments of a set of embeddings.

    Attributes:
      spread: Root mean square distance of the embeddings from their mean.
      mean_error: Norm of the mean, which is 0 under either base distribution.
      covariance_error: ||Cov - T||_F / ||T||_F, with T = I for `normal` or an unknown distribution, and I / K on the
        sphere.
      effective_rank: Effective rank, as returned by `effective_rank`.
    """

    spread: Array
    mean_error: Array
    covariance_error: Array
    effective_rank: Array


def moments(z: Array, base: str | None) -> Moments:
    """Compare the moments of embeddings z [N, K] with those of their base distribution."""
    dim = z.shape[1]
    mean = jnp.mean(z, axis=0, keepdims=True)
    centred = z - mean
    covariance = centred.T @ centred / z.shape[0]
    target = jnp.eye(dim, dtype=z.dtype) / (dim if base == "sphere" else 1)
    return Moments(
        jnp.sqrt(jnp.trace(covariance)),
        jnp.linalg.norm(mean),
        jnp.linalg.norm(covariance - target) / jnp.linalg.norm(target),
        effective_rank(z),
    )


def effective_rank(z: Array) -> Array:
    """Return RankMe, 1 .. min(N, K): exp of the entropy of the singular values of z [N, K], normalised to sum to one.

    Garrido et al., "RankMe", arXiv 2210.02885, eq. 1. The embeddings are not centred, so a collapse to one point has
    rank 1.
    """
    sigma = jnp.linalg.svd(z, full_matrices=False, compute_uv=False)
    p = sigma / (jnp.sum(sigma) + 1e-12) + 1e-7
    return jnp.exp(-jnp.sum(p * jnp.log(p)))
