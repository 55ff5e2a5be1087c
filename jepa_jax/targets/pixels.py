"""Targets that are the numbers of the sample itself, of which no network can collapse."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from jepa_jax.targets.tokens import Targets, normed


def pixel_targets(divided: Callable[[Any, Array], Array], normalise: bool) -> Targets:
    """Return targets that are the numbers of each token, as in a masked autoencoder.

    He et al., "Masked autoencoders are scalable vision learners", arXiv 2111.06377.

    Args:
      divided: Function (params, x) -> the numbers of one sample in each token, [N, P].
      normalise: Whether the numbers of a token are normalised to mean 0 and variance 1.

    Returns:
      Function (params, x) -> at [T] -> [T, P].
    """

    def targets(params: Any, x: Array) -> Callable[[Array], Array]:
        numbers = jax.lax.stop_gradient(divided(params, x))
        return lambda at: normed(numbers[at]) if normalise else numbers[at]

    return targets
