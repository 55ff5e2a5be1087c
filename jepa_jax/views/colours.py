"""Colour changes with the definitions of torchvision.

Images are [H, W, C] in [0, 1] with C = 3; functions that say so also accept other C.
"""

import jax
import jax.numpy as jnp
from jax import Array

LUMA_WEIGHTS = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue; they sum to 0.9999


def luma(image: Array) -> Array:
    """Return the brightness of each pixel, [H, W, 1]; for C = 1 this is the image itself."""
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * jnp.asarray(LUMA_WEIGHTS, image.dtype)[None, None, :], axis=-1, keepdims=True)


def grey(image: Array) -> Array:
    """Return an image with the luma in all channels."""
    return jnp.broadcast_to(luma(image), image.shape)


def brightness(image: Array, factor: Array | float) -> Array:
    """Blend with black: factor 0 is black, 1 is the image, clipped above; any C."""
    return jnp.clip(factor * image, 0, 1)


def contrast(image: Array, factor: Array | float) -> Array:
    """Blend with the mean luma of the whole image: factor 0 is that grey, 1 is the image, clipped beyond; any C."""
    return _blend(image, jnp.mean(luma(image), keepdims=True), factor)


def saturation(image: Array, factor: Array | float) -> Array:
    """Blend with the luma of each pixel: factor 0 is grey, 1 is the image, clipped beyond."""
    return _blend(image, luma(image), factor)


def hue(image: Array, turn: Array | float) -> Array:
    """Rotate the hue of HSV by a fraction of the circle; saturation and value are unchanged.

    Args:
      image: Image [H, W, 3].
      turn: Rotation, -0.5 .. 0.5; a third turns red into green.
    """
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    by = jnp.where(chroma > 0, chroma, 1)  # grey has no hue, so any divisor is valid
    sector = jnp.where(value == r, (g - b) / by, jnp.where(value == g, 2 + (b - r) / by, 4 + (r - g) / by))
    # Distance, in sixths of the circle, of the hue from each channel's own hue: the channel is full up to 1 and empty
    # from 2 on. A broadcast and a floor are used because stacked channels and a modulo are ten times slower on CPU.
    past = (sector + 6 * turn)[..., None] + jnp.asarray((3, 1, -1), image.dtype)[None, None, :]
    distance = jnp.abs(past - 6 * jnp.floor(past / 6) - 3)
    return value[..., None] - chroma[..., None] * jnp.clip(distance - 1, 0, 1)


def solarize(image: Array, threshold: float = 0.5) -> Array:
    """Invert the pixels that are at or above the threshold; any C."""
    return jnp.where(image >= threshold, 1 - image, image)


def jitter(key: Array, image: Array, amounts: tuple[float, float, float, float]) -> Array:
    """Apply torchvision's ColorJitter: four changes by random amounts in random order; for C = 1 only the first two.

    Args:
      key: Key of the amounts and the order.
      image: Image [H, W, C] with C = 1 or 3.
      amounts: Amounts a of brightness, contrast and saturation, whose factors are uniform in [max(0, 1 - a), 1 + a],
        and h of hue, whose rotation is uniform in [-h, h]. A change with the amount 0 is omitted.
    """
    u = jax.random.uniform(key, (8,), image.dtype)  # four numbers for the amounts, four for the order
    steps, places = [], []
    for i, change in enumerate((brightness, contrast, saturation, hue)[: 4 if image.shape[-1] == 3 else 2]):
        if amounts[i]:
            low, high = (-amounts[i], amounts[i]) if change is hue else (max(0.0, 1 - amounts[i]), 1 + amounts[i])
            by = low + (high - low) * u[i]
            steps.append(lambda image, change=change, by=by: change(image, by))
            places.append(u[4 + i])
    if not steps:
        return image
    # The loop is not unrolled: XLA would fuse the steps and recompute the early ones for every later one.
    order = jnp.argsort(jnp.stack(places))
    return jax.lax.fori_loop(0, len(steps), lambda i, image: jax.lax.switch(order[i], steps, image), image)


def _blend(image: Array, other: Array, factor: Array | float) -> Array:
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)
