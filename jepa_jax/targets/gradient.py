"""Targets that are gradients of an image by ratios of its brightness, which multiplicative noise leaves alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.targets.tokens import Targets, normed

FLOOR = 0.01  # intensity added to every sum, against the logarithm of zero


def gradient_targets(divided: Callable[[Array], Array], scales: tuple[int, ...], normalise: bool) -> Targets:
    """Return targets that are the ratio gradients of an image around the pixels of each token, at several scales.

    Li et al., "Predicting gradient is better: exploring self-supervised learning for SAR ATR with a joint-embedding
    predictive architecture", arXiv 2311.15153.

    Args:
      divided: Function from maps [H, W, S] to the numbers in each token, [N, P].
      scales: Half-widths r of the squares that are compared, in pixels.
      normalise: Whether the numbers of a token are normalised to mean 0 and variance 1.

    Returns:
      Function (params, x) -> at [T] -> [T, P], for samples that are the logarithm of an intensity.
    """

    def targets(params: Any, x: Array) -> Callable[[Array], Array]:
        del params
        maps = [ratio_gradient(jnp.exp(x), scale) for scale in scales]
        numbers = jax.lax.stop_gradient(divided(jnp.concatenate(maps, axis=-1)))
        return lambda at: normed(numbers[at]) if normalise else numbers[at]

    return targets


def ratio_gradient(intensity: Array, scale: int) -> Array:
    """Return the gradient by ratio of an image [H, W, C], one value a pixel.

    In a square of side 2 r + 1 the sums of the left and right halves, and of the upper and lower ones, are compared;
    both halves contain the centre line. The value is the root of the sum of squares of both log-ratios. A constant
    factor of the image cancels, up to the floor.

    Args:
      intensity: Intensities, at least 0.
      scale: Half-width r in pixels, below both sides of the image.
    """
    padded = jnp.pad(intensity, ((scale, scale), (scale, scale), (0, 0)), mode="reflect")
    rows = _sums(padded, 0, 2 * scale + 1)
    columns = _sums(padded, 1, 2 * scale + 1)
    width, height = _sums(rows, 1, scale + 1), _sums(columns, 0, scale + 1)
    across = jnp.log(width[:, scale:] + FLOOR) - jnp.log(width[:, :-scale] + FLOOR)
    down = jnp.log(height[scale:] + FLOOR) - jnp.log(height[:-scale] + FLOOR)
    return jnp.sqrt(across**2 + down**2)


def _sums(x: Array, axis: int, length: int) -> Array:
    """Return the sums of `length` neighbours along an axis."""
    window = [length if i == axis else 1 for i in range(x.ndim)]
    return jax.lax.reduce_window(x, jnp.zeros((), x.dtype), jax.lax.add, window, [1] * x.ndim, "VALID")
