"""Preprocessing that a `pretrained_cfg` of timm or a `preprocess_cfg` of open_clip describes."""

import math
from collections.abc import Mapping
from typing import Any

from jepa_jax.errors import ConfigError, nearest
from jepa_jax.images.preprocessing import FILTERS, Preprocessing, are_numbers

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of RGB in [0, 1]
CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def from_timm(config: Mapping[str, Any], source: str = "pretrained_cfg", channels: int = 3) -> Preprocessing:
    """Return the preprocessing that timm builds for evaluation from a `pretrained_cfg`.

    Args:
      config: Content; what it leaves out has timm's defaults.
      source: Name of the file in messages.
      channels: Channels of the images that the model takes, 1 or 3.

    Raises:
      ConfigError: If the content is damaged, or describes a step that is not supported.
    """
    shape = config.get("input_size") or (3, 224, 224)
    if not are_numbers(tuple(shape) if isinstance(shape, list | tuple) else shape, 3):
        raise ConfigError(f"{source} has input_size {shape!r}; it should be channels, height and width")
    _, height, width = shape
    part = config.get("crop_pct") or 0.875
    if not are_numbers((part,), 1) or part <= 0:
        raise ConfigError(f"{source} has crop_pct {part!r}; it should be a positive number, such as 0.875")
    # timm rounds in this way; the shorter side is resized, and the middle cropped.
    around = (math.floor(height / part), math.floor(width / part))
    mode = _choice(config, "crop_mode", "center", ("center", "squash"), source)
    config = {**config, **{name: _spread(config.get(name), channels) for name in ("mean", "std")}}
    return _recipe(config, (height, width), around, mode == "squash", IMAGENET_STATISTICS, source, channels)


def from_open_clip(
    config: Mapping[str, Any], size: tuple[int, int], source: str = "preprocess_cfg", channels: int = 3
) -> Preprocessing:
    """Return the preprocessing that open_clip builds for evaluation from a `preprocess_cfg`.

    Args:
      config: Content; what it leaves out has open_clip's defaults.
      size: Height and width of the images that the model takes.
      source: Name of the file in messages.
      channels: Channels of the images that the model takes, 1 or 3.

    Raises:
      ConfigError: If the content is damaged, or describes a step that is not supported.
    """
    mode = _choice(config, "resize_mode", "shortest", ("shortest", "squash"), source)
    return _recipe(config, size, size, mode == "squash", CLIP_STATISTICS, source, channels)


def _recipe(
    config: Mapping[str, Any],
    size: tuple[int, int],
    around: tuple[int, int],
    squash: bool,
    default: Statistics,
    source: str,
    channels: int,
) -> Preprocessing:
    """Return the recipe that resizes a picture to `around`, or such that it covers it, and crops `size`."""
    resample = _choice(config, "interpolation", "bicubic", FILTERS, source)
    mean, std = (
        statistic(config.get(name), given, name, source, channels)
        for name, given in zip(("mean", "std"), default, strict=True)
    )
    resize = around if squash or around[0] != around[1] else around[0]
    try:
        return Preprocessing(
            size, resize, resample, mean, std, channels, source=source, cover=not squash and isinstance(resize, tuple)
        )
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def statistic(value: Any, default: tuple[float, ...], name: str, source: str, channels: int) -> tuple[float, ...]:
    """Return the mean or the standard deviation of each channel that a file states.

    Args:
      value: Number or list of numbers in the file, or None.
      default: Values of red, green and blue if the file states none; grey has their mean.
      name: Name of the field; values of a field whose name ends in `std` are positive.
      source: Name of the file in messages.
      channels: Channels of the images that the model takes.

    Raises:
      ConfigError: If the value is anything else, or is of another number of channels.
    """
    if value is None:
        return default if channels == len(default) else (sum(default) / len(default),) * channels
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * channels
    deviation = name.endswith("std")
    if not are_numbers(values, len(values)) or (deviation and min(values, default=0) <= 0):
        kind = "positive numbers" if deviation else "numbers"
        raise ConfigError(f"{source} has {name} {value!r}; it should be {channels} {kind}")
    if len(values) != channels:
        raise ConfigError(
            f"{source} has {name} of {len(values)} channels, and the weights take images of {channels}; give it "
            f"{channels} number{'s' * (channels > 1)}"
        )
    return values


def _spread(value: Any, channels: int) -> Any:
    """Return numbers of other channels as timm takes them for these: their mean, for each."""
    if not isinstance(value, list | tuple) or len(value) in (0, channels) or not are_numbers(tuple(value), len(value)):
        return value
    return (sum(value) / len(value),) * channels


def _choice(config: Mapping[str, Any], name: str, default: str, known: tuple[str, ...], source: str) -> Any:
    value = config.get(name) or default
    if value not in known:
        hint = nearest(value, known) if isinstance(value, str) else f"; known: {', '.join(known)}"
        raise ConfigError(f"{source} has {name} {value!r}, which is not supported{hint}")
    return value
