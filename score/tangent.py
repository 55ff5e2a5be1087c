"""The directions along the data, for a score on a manifold."""

import math

import numpy as np

from jepa_jax.data import Samples, in_memory, readable
from jepa_jax.errors import ConfigError


def tangents(name: str, samples: Samples, dim: int) -> tuple[np.ndarray, str]:
    """A basis of the data's tangent space at each sample.

    Args:
      name: of the samples, by the data grammar.
      dim: d, of the manifold.

    Returns:
      [N, D, d], orthonormal columns, and where they are from: `exact` or `neighbours`.

    Raises:
      ConfigError: the world's manifold has another dimension, or there are too few samples.
    """
    if samples.tangent is not None:
        if dim != samples.tangent.shape[-1]:
            raise ConfigError(
                f"--tangent is {dim}; the samples of {name} lie on a manifold of {samples.tangent.shape[-1]} dimensions"
            )
        return samples.tangent, "exact"
    from jepa_jax.density.tangent import estimate_tangents  # here: few calls need it

    xs = in_memory(samples.x, "--tangent", "take fewer with --limit")
    fine = readable(xs)
    found = np.zeros((len(xs), math.prod(xs.shape[1:]), dim), np.float32)
    try:
        found[fine] = estimate_tangents(xs[fine], dim)
    except ValueError as error:
        raise ConfigError(f"--tangent: {error}") from None
    return found, "neighbours"
