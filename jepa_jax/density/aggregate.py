"""One score from several views of the same sample."""

import jax.numpy as jnp
from jax import Array


def aggregate(scores: Array) -> tuple[Array, Array]:
    """The score of a sample from those of M random transforms T of it: -log mean_T exp(-score_T).

    The density of an embedding's source is a sum over the samples that land there, p(mu) ~ 1 / E_T[1 / prod_k sigma_k]
    (arXiv 2510.05949, eq. 4). The lowest scores count most: this is never above their mean, and never below the lowest.

    Args:
      scores: [..., M], in nats: JEPA-SCOREs, or log-densities that each have the law of their own embedding.

    Returns:
      The score, [...]; and its standard error [...] over the draw of the transforms, in nats, by the delta method: with
      w = exp(-score_T), std(w) / (mean(w) sqrt(M)). It is NaN for one view, and both are where a view is not finite.
    """
    count = scores.shape[-1]
    lowest = jnp.min(scores, axis=-1, keepdims=True)
    weight = jnp.exp(lowest - scores)  # relative to the largest, so that none overflows
    mean = jnp.mean(weight, axis=-1)
    score = lowest[..., 0] - jnp.log(mean)
    spread = jnp.sqrt(jnp.sum((weight - mean[..., None]) ** 2, axis=-1) / max(count - 1, 1))
    error = spread / (mean * count**0.5) if count > 1 else jnp.full_like(score, jnp.nan)
    finite = jnp.isfinite(scores).all(axis=-1)
    return jnp.where(finite, score, jnp.nan), jnp.where(finite, error, jnp.nan)
