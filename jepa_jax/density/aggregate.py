"""Aggregation of the scores of several views of a sample into one score."""

import jax.numpy as jnp
from jax import Array


def aggregate(scores: Array) -> tuple[Array, Array]:
    """Combine the scores of M random transforms T of a sample into one: -log mean_T exp(-score_T).

    The density of an embedding's source is a sum over the samples that are mapped to it,
    p(mu) ~ 1 / E_T[1 / prod_k sigma_k] (arXiv 2510.05949, eq. 4). The lowest scores have the largest weight: the result
    is never above the mean of the scores and never below the lowest.

    Args:
      scores: Scores [..., M] in nats: JEPA-SCOREs, or log-densities that each include the base log-density of their own
        embedding.

    Returns:
      The score [...] and its standard error [...] over the draw of the transforms, both in nats. The standard error
      follows from the delta method: with w = exp(-score_T) it is std(w) / (mean(w) sqrt(M)). It is NaN for one view.
      Both values are NaN where the score of a view is not finite.
    """
    count = scores.shape[-1]
    lowest = jnp.min(scores, axis=-1, keepdims=True)
    weight = jnp.exp(lowest - scores)  # relative to the largest weight, to avoid overflow
    mean = jnp.mean(weight, axis=-1)
    score = lowest[..., 0] - jnp.log(mean)
    spread = jnp.sqrt(jnp.sum((weight - mean[..., None]) ** 2, axis=-1) / max(count - 1, 1))
    error = spread / (mean * count**0.5) if count > 1 else jnp.full_like(score, jnp.nan)
    finite = jnp.isfinite(scores).all(axis=-1)
    return jnp.where(finite, score, jnp.nan), jnp.where(finite, error, jnp.nan)
