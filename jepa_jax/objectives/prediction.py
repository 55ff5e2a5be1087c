"""Prediction term: the embedding of one view should be predictable from the embedding of the other."""

import jax.numpy as jnp
from jax import Array


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
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {predicted.shape} and target {target.shape} differ in shape")
    return jnp.sum((predicted - target) ** 2, axis=-1)
