"""Exact entropy of the embeddings of an encoder that cannot fold."""

import jax.numpy as jnp
from jax import Array


def entropy(z: Array, log_volume: Array, *, gaussian: bool) -> Array:
    """Return the divergence of the embeddings from their base distribution, up to a constant of the data.

    For an injective encoder f with K = D, mean(|z|^2 / 2 - log|det J|) + const = KL(law of f(X) || N(0, I)) + H(X). On
    the cube and on the torus the base distribution is uniform, and only mean(-log|det J|) remains. This is maximum
    likelihood of a normalising flow: the limit of what the sampled terms aim at, without batch statistics. For an
    encoder that folds it would be wrong: a fold is credited with entropy that is not there.

    Args:
      z: Embeddings [V, B, K].
      log_volume: Log of the factor by which the encoder enlarges volumes at each view, in nats, [V, B].
      gaussian: Whether the base distribution is N(0, I) instead of uniform.

    Returns:
      A scalar, in nats.
    """
    energy = 0.5 * jnp.mean(jnp.sum(z**2, axis=-1)) if gaussian else 0.0
    return energy - jnp.mean(log_volume)
