"""Random views of an image, as pure functions of a key."""

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
    """Options of a random view: cropped, mirrored, colours jittered, grey, blurred, solarized, noisy, in this order.

    Raises:
      ValueError: If no view can have these values.
    """

    size: int
    """Side of the view in pixels, S."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Area of the crop divided by the area of the image, uniform in this range."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width of the crop divided by its height, log-uniform in this range."""
    flip: float = 0.5
    """Probability of a mirror image, with left and right exchanged."""
    jitter: float = 0.8
    """Probability of the colour jitter, whose four changes are applied in random order."""
    brightness: float = 0.4
    """Largest change of brightness, as a factor: 0.4 means 0.6 .. 1.4."""
    contrast: float = 0.4
    """Largest change of contrast, as a factor."""
    saturation: float = 0.2
    """Largest change of saturation, as a factor."""
    hue: float = 0.1
    """Largest rotation of the hue, as a fraction of the circle; at most 0.5."""
    grey: float = 0.2
    """Probability that the view is converted to grey."""
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
    """Return one random view of an image.

    Every step draws its own random numbers, so omitting one step does not change the others.

    Args:
      key: Key of the view.
      image: Image [H, W, C] in [0, 1]; with C = 1 the steps that need colour are omitted.
      recipe: Options of the view, static.

    Returns:
      View [S, S, C], in [0, 1] before the noise.

    Raises:
      ValueError: If the image has another shape or dtype.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"an image must be floating point [H, W, 1 or 3], not {image.dtype} {list(image.shape)}")
    crop_key, coin_key, jitter_key, blur_key, noise_key = jax.random.split(key, 5)
    coins = jax.random.uniform(coin_key, (5,), jnp.float32)

    def maybe(coin: int, probability: float, change: Callable[[Array], Array], x: Array) -> Array:
        # Under vmap both branches are computed, so only a step of probability 0 is free.
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
    x = jnp.clip(x, 0, 1)  # interpolation weights sum to one only up to rounding
    return x + recipe.noise * jax.random.normal(noise_key, x.shape, x.dtype) if recipe.noise else x


def multi_crop(
    key: Array, image: Array, global_recipe: Augmentation, num_global: int, local_recipe: Augmentation, num_local: int
) -> tuple[Array, Array]:
    """Return several independent views of one image: large crops that cover most of it, and small crops of its parts.

    Args:
      key: Key of the views.
      image: Image [H, W, C] in [0, 1].
      global_recipe: Options of the large crops, static.
      num_global: Number of large crops, static; may be 0.
      local_recipe: Options of the small crops, static.
      num_local: Number of small crops, static; may be 0.

    Returns:
      Views [num_global, S, S, C] and [num_local, s, s, C], with the sizes of the two recipes.
    """

    def views(key: Array, recipe: Augmentation, count: int) -> Array:
        return jax.vmap(lambda key: augment(key, image, recipe))(jax.random.split(key, count))

    global_key, local_key = jax.random.split(key)
    return views(global_key, global_recipe, num_global), views(local_key, local_recipe, num_local)


def sample_keys(key: Array, index: Array) -> Array:
    """Return the keys of the samples at a step.

    Each key depends on the step's key and the sample's index in the dataset, not on its position in the batch.

    Args:
      key: Key of the step, derived from the seed.
      index: Indices [B] of the samples in the dataset.

    Returns:
      Keys [B].
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)
