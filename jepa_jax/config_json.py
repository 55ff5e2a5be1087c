"""Conversion of configs to JSON text and back, and the differences between two configs."""

import contextlib
import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from jepa_jax.config import Config
from jepa_jax.errors import ConfigError, first_line, nearest

# Prefixes of the fields that determine where and how a run is computed, but not what it computes.
EXECUTION_FIELDS = ("mesh.", "data.workers", "monitor.writers")
# Names of fields in jepa_jax 0.1 -> their current names.
RENAMED_FIELDS = {
    "objective.recipe": "recipe.kind",
    "objective.ema": "recipe.ema",
    "objective.ema_end": "recipe.ema_end",
    "objective.projector": "recipe.projector",
    "objective.predictor": "recipe.predictor",
    "objective.prototypes": "recipe.prototypes",
    "objective.teacher_temperature": "recipe.teacher_temperature",
    "objective.targets": "recipe.targets",
    "objective.predictor_width": "recipe.predictor_width",
    "objective.predictor_depth": "recipe.predictor_depth",
    "objective.mask_blocks": "recipe.mask.targets",
    "optim.average": "optim.ema",
}


def differences(before: Config, now: Config) -> list[str]:
    """Return the fields in which two configs differ, as text, except those that a continued run may change."""
    a, b = dict(flatten(dataclasses.asdict(before))), dict(flatten(dataclasses.asdict(now)))
    changed = [name for name in {**a, **b} if a.get(name) != b.get(name) and not name.startswith(EXECUTION_FIELDS)]
    return [f"{name} is {a.get(name)} there, {b.get(name)} here" for name in changed]


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and the values of a nested dict."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def to_json(config: Config) -> str:
    """Return a config as indented JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """Return the config that `to_json` wrote, in this version or in jepa_jax 0.1. A missing field has its default.

    Raises:
      ConfigError: If the text is not JSON, a field is unknown, or a value has the wrong type.
    """
    return from_tree(parse_json(text))


def parse_json(text: str) -> Any:
    """Return the content of JSON text.

    Raises:
      ConfigError: If it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the config is not JSON: {first_line(error)}") from None


def from_tree(tree: Any) -> Config:
    """Return the config of a nested dict, as in `from_json`.

    Raises:
      ConfigError: If a field is unknown, or a value has the wrong type.
    """
    return _build(Config, _in_current_form(tree), "config")


def members(kind: Any) -> tuple[Any, ...]:
    """Return the dataclasses of a union whose members are distinguished by their field `kind`.

    For a single dataclass with a field `kind` the result has this one element; for other types it is ().
    """
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    if all(dataclasses.is_dataclass(o) and any(f.name == "kind" for f in dataclasses.fields(o)) for o in options):
        return options
    return ()


def member(kind: Any, name: Any, where: str) -> Any:
    """Return the dataclass of a union whose `kind` has this name.

    Raises:
      ConfigError: If no member has it.
    """
    known = {_kind(option): option for option in members(kind)}
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"{where}.kind is {name!r}{nearest(str(name), known)}")
    return known[name]


def _kind(option: Any) -> str:
    return str(next(f.default for f in dataclasses.fields(option) if f.name == "kind"))


def _build(kind: Any, value: Any, where: str) -> Any:
    if options := members(kind):
        name = value.get("kind", _kind(options[0])) if isinstance(value, dict) else _kind(options[0])
        kind = member(kind, name, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} should be an object, not {value!r}")
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ConfigError(f"unknown field {where}.{name}{nearest(str(name), hints)}")
        return kind(**{k: _build(hints[k], v, f"{where}.{k}") for k, v in value.items()})  # type: ignore[operator]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        kinds = [a for a in args if a is not type(None)]
        for kind in kinds[:-1]:
            with contextlib.suppress(ConfigError):
                return _build(kind, value, where)
        return _build(kinds[-1], value, where)
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
    raise ConfigError(f"{where} is {value!r}, which is not of the type {kind}")


def _in_current_form(tree: Any) -> Any:
    """Convert the tree of a config of jepa_jax 0.1, whose sections had the options of all kinds, to today's form."""
    if not isinstance(tree, dict):
        return tree
    flat = dict(flatten(tree))
    if not flat.keys() & RENAMED_FIELDS.keys():
        return tree
    if flat.get("objective.recipe") == "distill" and flat.get("objective.temperature") is not None:
        flat["recipe.student_temperature"] = flat["objective.temperature"]
    now: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = RENAMED_FIELDS.get(name, name).split(".")
        node = now
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"config.{section} should be an object, not {node!r}")
        node[last] = value
    hints = typing.get_type_hints(Config)
    for section in ("views", "encoder", "recipe"):
        if isinstance(now.get(section), dict):
            options = members(hints[section])
            kind = member(hints[section], now[section].get("kind", _kind(options[0])), f"config.{section}")
            now[section] = {k: v for k, v in now[section].items() if k in typing.get_type_hints(kind)}
    return now
