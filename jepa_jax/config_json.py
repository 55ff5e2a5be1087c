"""Configs as JSON text and back, and what differs between two of them."""

import dataclasses
import json
import types
import typing
from typing import Any, Literal

from jepa_jax.config import Config, flatten
from jepa_jax.errors import ConfigError, nearest

# Fields that say where and by what a run is computed, not what it computes.
ELSEWHERE = ("mesh.", "data.workers", "monitor.writers")


def differences(before: Config, now: Config) -> list[str]:
    """The fields in which two configs differ, as text, but for those in which one run may be continued otherwise."""
    a, b = dict(flatten(dataclasses.asdict(before))), dict(flatten(dataclasses.asdict(now)))
    changed = [name for name in a if a[name] != b[name] and not name.startswith(ELSEWHERE)]
    return [f"{name} is {a[name]} there, {b[name]} here" for name in changed]


def to_json(config: Config) -> str:
    """The config as indented JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config that `to_json` wrote.

    Raises:
      ConfigError: not JSON, an unknown field, or a value of another type. A missing field takes its default.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the config is not JSON: {error}") from None
    return _build(Config, tree, "config")


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} should be an object, not {value!r}")
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ConfigError(f"unknown field {where}.{name}{nearest(name, hints)}")
        return kind(**{k: _build(hints[k], v, f"{where}.{k}") for k, v in value.items()})  # type: ignore[operator]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _build(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_build(args[0], v, where) for v in value)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}{nearest(str(value), map(str, args))}")
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} is {value!r}, which is not of its type, {kind}")
