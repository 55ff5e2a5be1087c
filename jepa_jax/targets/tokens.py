"""Targets computed from the tokens of the teacher."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

VARIANCE_FLOOR = 1e-6

# Function (params of the teacher, one sample) -> at [T] -> targets [T, E] of the tokens with the indices `at`.
Targets = Callable[[Any, Array], Callable[[Array], Array]]


def token_targets(encode: Callable[[Any, Array], Array], normalise: bool = True) -> Targets:
    """Return targets that are the tokens of a network, without a gradient.

    Assran et al., arXiv 2301.08243: the targets are normalised so that they have the same size whatever the encoder's
    gain.

    Args:
      encode: Function (params, x) -> tokens [N, E] of one sample.
      normalise: Whether each token is normalised to mean 0 and variance 1.

    Returns:
      Function (params, x) -> at [T] -> [T, E].
    """

    def targets(params: Any, x: Array) -> Callable[[Array], Array]:
        tokens = jax.lax.stop_gradient(encode(params, x))
        return lambda at: normed(tokens[at]) if normalise else tokens[at]

    return targets


def normed(tokens: Array) -> Array:
    """Normalise tokens [N, E] to mean 0 and variance 1."""
    centre = tokens - jnp.mean(tokens, axis=-1, keepdims=True)
    return centre * jax.lax.rsqrt(jnp.mean(centre**2, axis=-1, keepdims=True) + VARIANCE_FLOOR)
