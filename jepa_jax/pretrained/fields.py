"""Fields of config files, with their types checked."""

import math
from collections.abc import Mapping
from typing import Any

from jepa_jax.errors import ConfigError

CONFIG_LABEL = "the config file"  # subject of error messages


def configured(config: Mapping[str, Any] | None, key: str, default: Any, kind: type) -> Any:
    """Return a field of a config file, or the default if the field or the file is missing.

    Args:
      config: Content of the config file, or None.
      key: Name of the field.
      default: Value if the field is missing or null.
      kind: Type of the value; a float may be written as an integer.

    Raises:
      ConfigError: If the value has another type.
    """
    value = default if config is None or config.get(key) is None else config[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{CONFIG_LABEL} has {key} = {value!r}, which is not of type {kind.__name__}")
    return value


def positive(config: Mapping[str, Any] | None, key: str) -> int | None:
    """Return a positive integer from a config file, or None if the field or the file is missing.

    Raises:
      ConfigError: If the value is anything else.
    """
    value = configured(config, key, None, int)
    if value is not None and value < 1:
        raise ConfigError(f"{CONFIG_LABEL} has {key} = {value}; it must be at least 1")
    return value


def epsilon(config: Mapping[str, Any] | None, default: float) -> float:
    """Return the epsilon of the layer norms that the config file names, or else the default.

    Raises:
      ConfigError: If it is no positive finite number.
    """
    value = configured(config, "layer_norm_eps", default, float)
    if not 0 < value < math.inf:
        raise ConfigError(f"{CONFIG_LABEL} has layer_norm_eps = {value}; it must be positive and finite")
    return value


def activation(config: Mapping[str, Any] | None, default: str, names: dict[str, str]) -> str:
    """Return the activation of the MLPs that the config file names.

    Args:
      config: Content of the config file, or None.
      default: Name if the field or the file is missing.
      names: Name in the config file -> name in this library.

    Raises:
      ConfigError: If the activation is not supported.
    """
    value = configured(config, "hidden_act", default, str)
    if value not in names:
        raise ConfigError(f"{CONFIG_LABEL} has hidden_act = {value!r}; known: {', '.join(names)}")
    return names[value]
