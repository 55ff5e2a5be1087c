"""Prediction term: the distance of predictions from their targets."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

NORM_FLOOR = 1e-12  # square of a norm, below which a direction is not defined


def prediction(predicted: Array, target: Array) -> Array:
    """Compute the squared distance of each prediction from its target.

    Args:
      predicted: Predictions [..., K].
      target: Targets [..., K].

    Returns:
      sum_k (predicted_k - target_k)^2, shape [...]. On the unit sphere this is 2 - 2 cos.

    Raises:
      ValueError: If the shapes differ.
    """
    return distance("l2", predicted, target)


def distance(name: str, predicted: Array, target: Array, *, mean: bool = False) -> Array:
    """Compute a distance of each prediction from its target.

    Args:
      name: `l2`, sum of squares; `l1`, sum of magnitudes; `smooth_l1`, sum of e^2 / 2 for errors e below 1 and of |e| -
        1/2 above (Huber 1964); `cosine`, 2 - 2 cos.
      predicted: Predictions [..., K].
      target: Targets [..., K].
      mean: Whether sums are divided by K.

    Returns:
      Distances [...].

    Raises:
      ValueError: If the shapes differ.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} differ in shape")
    if name == "cosine":
        return 2 - 2 * jnp.sum(_unit(predicted) * _unit(target), axis=-1)
    return (jnp.mean if mean else jnp.sum)(ERRORS[name](predicted - target), axis=-1)


def _smooth(e: Array) -> Array:
    size = jnp.abs(e)
    return jnp.where(size < 1, 0.5 * e**2, size - 0.5)


def _unit(x: Array) -> Array:
    return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + NORM_FLOOR)


# Errors of single numbers by the name of the distance that sums them.
ERRORS: dict[str, Callable[[Array], Array]] = {"l2": jnp.square, "l1": jnp.abs, "smooth_l1": _smooth}
