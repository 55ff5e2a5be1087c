"""Pipeline from one example to its random views, as a config describes them, for both training and scoring."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.views.augment import Augmentation, multi_crop
from jepa_jax.views.noise import jittered

Example = dict[str, Array]
Views = tuple[Array, ...]
Pipeline = Callable[[Array, Example], Views]


class Renderer(Protocol):
    """Interface of a world in the pipeline: functions that return the views and the image of a state."""

    @property
    def views(self) -> Callable[[Array, Array], tuple[Array, Array]]: ...  # noqa: D102 - as above

    @property
    def render(self) -> Callable[[Array], Array]: ...  # noqa: D102 - as above


def build_pipeline(
    views: cfg.Views,
    *,
    shape: tuple[int, ...],
    noise: Any,
    shift: int,
    world: Renderer | None,
    most: int | None = None,
) -> Pipeline:
    """Build the pipeline of a config.

    Args:
      views: Views section of the config.
      shape: Shape of one sample.
      noise: Standard deviation of the noise that each view of kind `noise` adds, broadcastable to `shape`.
      shift: Largest shift of such a view in pixels.
      world: World whose states are the examples; None if the examples are samples.
      most: Number of views of a pair that the recipe reads; None for both.

    Returns:
      Function (key, example) -> views in groups of one size, [V, ...] each: the pair of two views; or the large crops
      and, if there are any, the small ones. An example has `state` for a world; otherwise `x` [*shape], and `pair`
      [*shape] if samples have partners, and `noise` [*shape] if each has its own. The views depend
      only on the key and the example.

    Raises:
      ConfigError: If no view can have the values of the config.
    """
    if isinstance(views, cfg.Noise):
        return _pairs(world, noise, shift, most)
    common: dict[str, Any] = {"flip": views.flip, "jitter": views.jitter, "grey": views.grey}
    common |= {"blur": views.blur, "noise": views.noise}
    try:
        large = Augmentation(shape[0], views.global_scale, **common)
        small = Augmentation(views.local_size or shape[0], views.local_scale, **common)
    except ValueError as error:
        raise ConfigError(f"`views`: {error}") from None

    def crops(key: Array, example: Example) -> Views:
        image = example["x"] if world is None else world.render(example["state"])
        groups = multi_crop(key, image, large, views.global_views, small, views.local_views)
        return tuple(group for group in groups if len(group))

    return crops


def _pairs(world: Renderer | None, noise: Any, shift: int, most: int | None) -> Pipeline:
    """Return a pipeline of two views: those of a world, or two samples with shift and noise."""

    def world_views(key: Array, example: Example) -> Views:
        assert world is not None
        return (jnp.stack(world.views(key, example["state"]))[:most],)

    def sample_views(key: Array, example: Example) -> Views:
        one, other = example["x"], example.get("pair", example["x"])
        own: Any = example.get("noise", noise)
        views = jax.vmap(lambda k, x: jittered(k, x, own, shift))(jax.random.split(key), jnp.stack([one, other]))
        return (views[:most],)

    return sample_views if world is None else world_views
