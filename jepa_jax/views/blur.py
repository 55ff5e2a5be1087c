"""Gaussian blur of an image, with a random width and static shapes."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.views.crops import separable


def blur(image: Array, sigma: Array | float, max_sigma: float) -> Array:
    """Convolve an image along both axes with a Gaussian of 2 ceil(3 max_sigma) + 1 taps that sum to one.

    The border repeats its edge, where torchvision reflects, so that the image may be of any size.

    Args:
      image: Image [H, W, C].
      sigma: Standard deviation in pixels, above 0.
      max_sigma: Largest value of `sigma` in pixels, which determines the number of taps.
    """
    reach = math.ceil(3 * max_sigma)
    rows, columns = (_smoothing(side, reach, jnp.asarray(sigma, image.dtype)) for side in image.shape[:2])
    return separable(rows, columns, image)


def _smoothing(side: int, reach: int, sigma: Array) -> Array:
    """Return the convolution of a line as a matrix [side, side].

    On CPU the matrix product is many times faster than adding shifted images.
    """
    offset = np.arange(side + 2 * reach)[None, :] - np.arange(side)[:, None] - reach  # [side, side + 2 reach]
    taps = jnp.where(abs(offset) <= reach, jnp.exp(-0.5 * (offset.astype(sigma.dtype) / sigma) ** 2), 0)
    edges = np.eye(side)[np.clip(np.arange(-reach, side + reach), 0, side - 1)]  # repeat the first and the last pixel
    matrix = jnp.matmul(taps, jnp.asarray(edges, sigma.dtype), precision="highest")
    return matrix / jnp.sum(matrix, axis=1, keepdims=True)
