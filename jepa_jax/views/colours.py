"""Changes of colour, by torchvision's definitions: of images [H, W, C] in [0, 1], C = 3, or 1 where it says so."""

import jax
import jax.numpy as jnp
from jax import Array

LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue; they sum to 0.9999


def luma(image: Array) -> Array:
    """Brightness of each pixel, [H, W, 1]; of C = 1 the image itself."""
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * jnp.asarray(LUMA, image.dtype)[None, None, :], axis=-1, keepdims=True)


def grey(image: Array) -> Array:
    """The luma in all channels."""
    return jnp.broadcast_to(luma(image), image.shape)


def brightness(image: Array, factor: Array | float) -> Array:
    """Blended with black: 0 is black, 1 the image, clipped above; any C."""
    return jnp.clip(factor * image, 0, 1)


def contrast(image: Array, factor: Array | float) -> Array:
    """Blended with the mean luma of the whole image: 0 is that grey, 1 the image, clipped beyond; any C."""
    return _blend(image, jnp.mean(luma(image), keepdims=True), factor)


def saturation(image: Array, factor: Array | float) -> Array:
    """Blended with the luma of each pixel: 0 is grey, 1 the image, clipped beyond."""
    return _blend(image, luma(image), factor)


def hue(image: Array, turn: Array | float) -> Array:
    """The hue of HSV turned by `turn` of the circle; saturation and value stay.

    Args:
      turn: -0.5 .. 0.5; a third makes red green.
    """
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    by = jnp.where(chroma > 0, chroma, 1)  # a grey has no hue: any will do
    sector = jnp.where(value == r, (g - b) / by, jnp.where(value == g, 2 + (b - r) / by, 4 + (r - g) / by))
    # How far, in sixths of the circle, each channel's own hue is: it is full up to 1 and gone from 2 on. Written with a
    # broadcast and a floor, as stacked channels and a modulo would be ten times slower on CPU.
    past = (sector + 6 * turn)[..., None] + jnp.asarray((3, 1, -1), image.dtype)[None, None, :]
    distance = jnp.abs(past - 6 * jnp.floor(past / 6) - 3)
    return value[..., None] - chroma[..., None] * jnp.clip(distance - 1, 0, 1)


def solarize(image: Array, threshold: float = 0.5) -> Array:
    """Pixels from the threshold on inverted; any C."""
    return jnp.where(image >= threshold, 1 - image, image)


def jitter(key: Array, image: Array, amounts: tuple[float, float, float, float]) -> Array:
    """torchvision's ColorJitter: four changes by random amounts, in random order; of C = 1 the first two.

    Args:
      amounts: of brightness, contrast and saturation a, whose factors are uniform in [max(0, 1 - a), 1 + a]; and of
        hue h, whose turn is uniform in [-h, h]. What is 0 is left out.
    """
    u = jax.random.uniform(key, (8,), image.dtype)  # four for the amounts, four for the order
    steps, places = [], []
    for i, change in enumerate((brightness, contrast, saturation, hue)[: 4 if image.shape[-1] == 3 else 2]):
        if amounts[i]:
            low, high = (-amounts[i], amounts[i]) if change is hue else (max(0.0, 1 - amounts[i]), 1 + amounts[i])
            by = low + (high - low) * u[i]
            steps.append(lambda image, change=change, by=by: change(image, by))
            places.append(u[4 + i])
    if not steps:
        return image
    # A loop, not unrolled: XLA would fuse the steps and compute the early ones again for every later one.
    order = jnp.argsort(jnp.stack(places))
    return jax.lax.fori_loop(0, len(steps), lambda i, image: jax.lax.switch(order[i], steps, image), image)


def _blend(image: Array, other: Array, factor: Array | float) -> Array:
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)
