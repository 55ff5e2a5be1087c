"""Preprocessing that a `preprocessor_config.json` of Hugging Face describes."""

import math
from collections.abc import Mapping
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import FILTERS, Preprocessing, are_numbers
from jepa_jax.images.timm import statistic


def from_huggingface(config: Any, source: str = "preprocessor_config.json", channels: int = 3) -> Preprocessing:
    """Return the preprocessing that a `preprocessor_config.json` describes, in any of its historical spellings.

    Args:
      config: Content of the file.
      source: Name of the file in messages.
      channels: Channels of the images that the model takes, 1 or 3.

    Raises:
      ConfigError: If the content is damaged, or has a step that is not supported.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{source} should be an object, not {config!r}")
    config = {name: value for name, value in config.items() if value is not None}
    if unknown := [name for name, value in config.items() if value and _is_unknown_step(name)]:
        raise ConfigError(f"{source} asks for {', '.join(unknown)}, which is not supported")
    crops = bool(config.get("do_center_crop"))
    if not config.get("do_resize", True):
        raise ConfigError(f"{source} does not resize, but images of any size need do_resize")
    # A single number is the shorter side if the recipe crops (as for CLIP), and a square if it does not (as for ViT).
    resize = _side(config, "size", source, shorter=crops and not config.get("default_to_square"))
    size = _side(config, "crop_size", source, shorter=False) if crops else resize
    if isinstance(size, int):
        raise ConfigError(
            f"{source} results in images of several sizes; it needs do_center_crop, and a crop_size with both sides"
        )
    mean, std = (0.0,) * channels, (1.0,) * channels
    if config.get("do_normalize", True):
        mean, std = (_statistic(config, name, source, channels) for name in ("image_mean", "image_std"))
    scale = _scale(config, source)
    mean, std = (tuple(value / scale for value in values) for values in (mean, std))
    try:
        return Preprocessing(size, resize, _resample(config, source), mean, std, channels, "floor", source)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _is_unknown_step(name: str) -> bool:
    known = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
    others = ("crop_pct", "pad_size", "rescale_offset", "size_divisor")
    return name in others or (name.startswith("do_") and name not in known)


def _side(config: Mapping[str, Any], name: str, source: str, shorter: bool) -> int | tuple[int, int]:
    """Return a size in any spelling, as the shorter side, or as height and width."""
    value = config.get(name)
    given = {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value
    match given:
        case {"shortest_edge": int(side), **rest} if not rest:
            return side
        case {"height": int(height), "width": int(width), **rest} if not rest:
            return height, width
        case int(side):
            return side if shorter else (side, side)
    raise ConfigError(f"{source} has {name} {value!r}; it should be a number, shortest_edge, or height and width")


def _resample(config: Mapping[str, Any], source: str) -> Any:
    value = config.get("resample")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(FILTERS):
        raise ConfigError(f"{source} has resample {value!r}; it should be one of Pillow's numbers, 0 to 5")
    return FILTERS[value]


def _scale(config: Mapping[str, Any], source: str) -> float:
    """Return the factor by which the values exceed colours in [0, 1] before they are standardised."""
    if not config.get("do_rescale", True):
        return 255.0
    value = config.get("rescale_factor", 1 / 255)
    if not are_numbers((value,), 1) or value <= 0:
        raise ConfigError(f"{source} has rescale_factor {value!r}; it should be a positive number, such as 1 / 255")
    return 1.0 if math.isclose(255 * value, 1, rel_tol=1e-6) else 255.0 * value


def _statistic(config: Mapping[str, Any], name: str, source: str, channels: int) -> tuple[float, ...]:
    if config.get(name) is None:
        raise ConfigError(f"{source} has {name} None; it should be {channels} number{'s' * (channels > 1)}")
    return statistic(config[name], (), name, source, channels)
