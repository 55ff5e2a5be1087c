"""Tangent spaces of the data, for a score along a manifold."""

import math

import numpy as np

from jepa_jax.data import Samples, in_memory, readable
from jepa_jax.errors import ConfigError


def tangents(name: str, samples: Samples, dim: int) -> tuple[np.ndarray, str]:
    """Return a basis of the tangent space of the data at each sample.

    Args:
      name: Name of the samples, in the syntax of --data.
      samples: Samples.
      dim: d, the dimension of the manifold.

    Returns:
      The bases [N, D, d] with orthonormal columns, and their origin: `exact` or `neighbours`.

    Raises:
      ConfigError: If the manifold of the world has another dimension, or there are too few samples.
    """
    if samples.tangent is not None:
        if dim != samples.tangent.shape[-1]:
            raise ConfigError(
                f"--tangent is {dim}; the samples of {name} lie on a manifold of {samples.tangent.shape[-1]} dimensions"
            )
        return samples.tangent, "exact"
    from jepa_jax.density.tangent import estimate_tangents  # imported here, because few calls need it

    xs = in_memory(samples.x, "--tangent", "take fewer with --limit")
    fine = readable(xs)
    found = np.zeros((len(xs), math.prod(xs.shape[1:]), dim), np.float32)
    try:
        found[fine] = estimate_tangents(xs[fine], dim)
    except ValueError as error:
        raise ConfigError(f"--tangent: {error}") from None
    return found, "neighbours"
