"""One random view of an image, or several of two kinds, as one pure function of a key."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.views import colours
from jepa_jax.views.blur import blur
from jepa_jax.views.crops import crop, mirror, random_box


@dataclass(frozen=True)
class Augmentation:
    """What a view is: cropped, mirrored, colours jittered, grey, blurred, solarized, noisy, in this order.

    Raises:
      ValueError: values that no view can have.
    """

    size: int
    """Side of the view in pixels, S."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Area of the crop over that of the image, uniform in this range."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width of the crop over its height, log-uniform in this range."""
    flip: float = 0.5
    """Probability that left and right are exchanged."""
    jitter: float = 0.8
    """Probability of the colour jitter; its four changes come in random order."""
    brightness: float = 0.4
    """Largest change of brightness, as a factor: 0.4 is 0.6 .. 1.4."""
    contrast: float = 0.4
    """Largest change of contrast, as a factor."""
    saturation: float = 0.2
    """Largest change of saturation, as a factor."""
    hue: float = 0.1
    """Largest turn of the hue, as a part of the circle; up to 0.5."""
    grey: float = 0.2
    """Probability that the colours go."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the blur in pixels of the view, uniform in this range."""
    solarize: float = 0.0
    """Probability that the pixels from 0.5 on are inverted."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, added at the end and not clipped."""

    def __post_init__(self) -> None:
        """Check the values."""
        allowed = {
            "size": self.size >= 1,
            "scale": 0 < self.scale[0] <= self.scale[1] <= 1,
            "ratio": 0 < self.ratio[0] <= self.ratio[1],
            "hue": 0 <= self.hue <= 0.5,
            "blur_sigma": 0 < self.blur_sigma[0] <= self.blur_sigma[1],
            **{name: 0 <= getattr(self, name) <= 1 for name in ("flip", "jitter", "grey", "blur", "solarize")},
            **{name: getattr(self, name) >= 0 for name in ("brightness", "contrast", "saturation", "noise")},
        }
        if wrong := [f"{name} {getattr(self, name)!r}" for name, ok in allowed.items() if not ok]:
            raise ValueError(f"a view cannot have {', '.join(wrong)}; check the range and its order")


def augment(key: Array, image: Array, recipe: Augmentation) -> Array:
    """One random view. Every step draws from numbers of its own, so that leaving one out changes no other.

    Args:
      image: [H, W, C], in [0, 1]; for C = 1 the steps that need colour are left out.
      recipe: static.

    Returns:
      [S, S, C], in [0, 1] before the noise.

    Raises:
      ValueError: the image is of another shape or type.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"an image is floating point [H, W, 1 or 3], not {image.dtype} {list(image.shape)}")
    crop_key, coin_key, jitter_key, blur_key, noise_key = jax.random.split(key, 5)
    coins = jax.random.uniform(coin_key, (5,), jnp.float32)

    def maybe(coin: int, probability: float, change: Callable[[Array], Array], x: Array) -> Array:
        # Under vmap both branches are computed, so only what never happens is free.
        return jnp.where(coins[coin] < probability, change(x), x) if probability else x

    def recoloured(x: Array) -> Array:
        return colours.jitter(jitter_key, x, (recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue))

    def blurred(x: Array) -> Array:
        low, high = recipe.blur_sigma
        return blur(x, low + (high - low) * jax.random.uniform(blur_key, (), x.dtype), high)

    x = crop(image, random_box(crop_key, image.shape[0], image.shape[1], recipe.scale, recipe.ratio), recipe.size)
    x = maybe(0, recipe.flip, mirror, x)
    x = maybe(1, recipe.jitter, recoloured, x)
    x = maybe(2, recipe.grey, colours.grey, x)
    x = maybe(3, recipe.blur, blurred, x)
    x = maybe(4, recipe.solarize, colours.solarize, x)
    x = jnp.clip(x, 0, 1)  # weights that sum to one do so up to rounding
    return x + recipe.noise * jax.random.normal(noise_key, x.shape, x.dtype) if recipe.noise else x


def multi_crop(
    key: Array, image: Array, global_recipe: Augmentation, num_global: int, local_recipe: Augmentation, num_local: int
) -> tuple[Array, Array]:
    """Several independent views of one image: large ones of its most, small ones of its parts.

    Args:
      image: [H, W, C], in [0, 1].
      global_recipe, local_recipe: static.
      num_global, num_local: how many of each, static; either may be 0.

    Returns:
      [num_global, S, S, C] and [num_local, s, s, C], with the sizes of the two recipes.
    """

    def views(key: Array, recipe: Augmentation, count: int) -> Array:
        return jax.vmap(lambda key: augment(key, image, recipe))(jax.random.split(key, count))

    global_key, local_key = jax.random.split(key)
    return views(global_key, global_recipe, num_global), views(local_key, local_recipe, num_local)


def sample_keys(key: Array, index: Array) -> Array:
    """The keys of samples at a step: each depends on the key and the sample's number, not on its place in the batch.

    Args:
      key: of the step, made of the seed.
      index: [B], the samples' numbers in the data set.

    Returns:
      [B].
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
