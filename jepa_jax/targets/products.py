"""Targets that are products of two numbers of a patch: what covariances are made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.targets.tokens import Targets, normed

LARGEST_PATCH = 48  # numbers in a patch, at which a target has 1,176
RIDGE = 1e-4  # of the variance of each number of a patch, added to it


class Whitening(NamedTuple):
    """Means and deviations [P] of the numbers of all patches, and the lower Cholesky factor of their correlations."""

    mean: Array
    deviation: Array
    root: Array


def whitening(numbers: Array) -> Whitening:
    """Return what whitens patches, from patches [M, P] of a batch."""
    mean = jnp.mean(numbers, axis=0)
    deviation = jnp.std(numbers, axis=0)
    # What never changes stays 0. Each number has a ridge of its own, so that no unit is lost beside a larger one.
    deviation = jnp.where(deviation > 0, deviation, 1.0)
    unit = (numbers - mean[None]) / deviation[None]
    correlation = unit.T @ unit / len(unit) + RIDGE * jnp.eye(len(mean), dtype=unit.dtype)
    return Whitening(mean, deviation, jnp.linalg.cholesky(correlation))


def product_targets(divided: Callable[[Any, Array], Array], normalise: bool) -> Targets:
    """Return targets that are the products of any two whitened numbers u of a patch.

    They are u_i u_j for i < j and (u_i^2 - 1) / sqrt(2): Hermite polynomials of second degree, so that under one normal
    distribution all of them are uncorrelated with mean 0 and variance 1, and what can be predicted of them from
    elsewhere is how the covariance of this sample differs from that of all. As in SAR-JEPA (arXiv 2311.15153), the
    targets are fixed features that cannot collapse.

    Args:
      divided: Function (params, x) -> the numbers of one sample in each token, [N, P].
      normalise: Whether the products of a token are normalised to mean 0 and variance 1.

    Returns:
      Function ((params, whitening), x) -> at [T] -> [T, P (P + 1) / 2].
    """

    def targets(params: tuple[Any, Whitening], x: Array) -> Callable[[Array], Array]:
        of_encoder, white = params
        unit = (divided(of_encoder, x) - white.mean[None]) / white.deviation[None]
        u = jax.scipy.linalg.solve_triangular(white.root, unit.T, lower=True).T
        i, j = jnp.triu_indices(u.shape[1])
        same = (i == j).astype(u.dtype)
        products = jax.lax.stop_gradient((u[:, i] * u[:, j] - same[None]) / jnp.sqrt(1 + same)[None])
        return lambda at: normed(products[at]) if normalise else products[at]

    return targets
