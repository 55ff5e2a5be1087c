"""From one example to its random views, as a config describes them: one pipeline for training and for scoring."""

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
    """What the pipeline needs of a world: views and image of a state."""

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
    """Pipeline of a config.

    Args:
      views: the config's.
      shape: of one sample.
      noise: standard deviation of the noise that each view of `kind` noise adds, broadcastable to `shape`.
      shift: largest move of such a view in pixels.
      world: where the examples are states of a world.
      most: views that the recipe reads, of a pair; None for both.

    Returns:
      (key, example) -> views in groups of one size, [V, ...] each: the pair of two views, or the large crops and, where
      there are any, the small ones. An example has `state`, of a world; or `x` [*shape], and `pair` [*shape] where
      samples have partners. The views depend on the key and on the example alone.

    Raises:
      ConfigError: values that no view can have.
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
    """Two views: a world's own, or two samples moved and with noise."""

    def of_world(key: Array, example: Example) -> Views:
        assert world is not None
        return (jnp.stack(world.views(key, example["state"]))[:most],)

    def of_rows(key: Array, example: Example) -> Views:
        one, other = example["x"], example.get("pair", example["x"])
        keys = jax.random.split(key)
        return (jax.vmap(lambda k, x: jittered(k, x, noise, shift))(keys, jnp.stack([one, other]))[:most],)

    return of_rows if world is None else of_world
