"""Random boxes of an image, resized to a square: torchvision's RandomResizedCrop, bilinear and antialiased.

The box is random but every shape is static, because the resize consists of two small matrices, one for each axis.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MAX_BOX_DRAWS = 10  # as in torchvision: if none of these draws fits into the image, the centred box is used


class Box(NamedTuple):
    """A rectangle of whole pixels; each field is an int32 scalar."""

    top: Array
    left: Array
    height: Array
    width: Array


def random_box(key: Array, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """Draw a box inside an image by torchvision's rule.

    The area is uniform and the ratio log-uniform; sides are rounded to pixels; a draw that does not fit is repeated. If
    `MAX_BOX_DRAWS` draws do not fit, the result is the largest centred box with an allowed ratio.

    Args:
      key: Key of the box.
      height: Height of the image in pixels.
      width: Width of the image in pixels.
      scale: Range of the area of the box divided by the area of the image.
      ratio: Range of the width of the box divided by its height.
    """
    # Drawn as one axis, which XLA compiles several times faster than an array with more axes.
    u = jax.random.uniform(key, (4 * MAX_BOX_DRAWS,), jnp.float32).reshape(4, MAX_BOX_DRAWS)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u[0])
    shape = jnp.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * u[1])
    heights, widths = jnp.round(jnp.sqrt(area / shape)), jnp.round(jnp.sqrt(area * shape))
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    tops, lefts = jnp.floor(u[2] * (height + 1 - heights)), jnp.floor(u[3] * (width + 1 - widths))

    bounded = min(max(width / height, ratio[0]), ratio[1])
    h, w = max(1, min(height, round(width / bounded))), max(1, min(width, round(height * bounded)))
    middle = ((height - h) // 2, (width - w) // 2, h, w)
    drawn = (field[jnp.argmax(fits)].astype(jnp.int32) for field in (tops, lefts, heights, widths))
    return Box(*(jnp.where(jnp.any(fits), d, m) for d, m in zip(drawn, middle, strict=True)))


def crop(image: Array, box: Box, size: int) -> Array:
    """Cut out the box and resize it to a square, as if nothing were around it.

    Args:
      image: Image [H, W, C].
      box: A box inside the image.
      size: S, the side of the result in pixels.

    Returns:
      Image [S, S, C]; this is the image itself if the box covers it and it has this size.
    """
    rows = _interpolation(box.top, box.height, image.shape[0], size, image.dtype)
    columns = _interpolation(box.left, box.width, image.shape[1], size, image.dtype)
    return separable(rows, columns, image)


def separable(rows: Array, columns: Array, image: Array) -> Array:
    """Apply the matrices rows [S, H] and columns [T, W] to the two axes of an image [H, W, C] -> [S, T, C].

    The products have full precision: accelerators would round the pixels to eight bits of mantissa by default.
    """
    image = jnp.einsum("sh,hwc->swc", rows, image, precision="highest")
    return jnp.einsum("tw,swc->stc", columns, image, precision="highest")


def mirror(image: Array) -> Array:
    """Exchange left and right."""
    return image[:, ::-1]


def _interpolation(start: Array, length: Array, old: int, new: int, dtype: jnp.dtype) -> Array:
    """Return weights [new, old] that resize pixels start .. start + length of a line, by triangles around new centres.

    The triangle extends one old pixel to either side, or one new pixel where the line shrinks; each row sums to one.
    """
    step = length.astype(dtype) / new
    centres = start.astype(dtype) + step * (jnp.arange(new, dtype=dtype) + 0.5)
    pixels = jnp.arange(old, dtype=jnp.int32)
    inside = (pixels >= start) & (pixels < start + length)
    distance = jnp.abs(pixels.astype(dtype)[None, :] + 0.5 - centres[:, None])
    weights = jnp.maximum(0, 1 - distance / jnp.maximum(step, 1)) * inside.astype(dtype)[None, :]
    return weights / jnp.sum(weights, axis=1, keepdims=True)
