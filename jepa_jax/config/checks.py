"""Checks of the values in a section of a config."""

import dataclasses
import math
from typing import Any

from jepa_jax.errors import ConfigError

MOST = 2**32  # above every whole number in a config; JAX counts in 32 bits

Rule = tuple[str, bool, str]


def check(section: str, options: Any, *rules: Rule) -> None:
    """Check the values of a section.

    Args:
      section: Text before the names of its fields, such as `optim.`.
      options: The section, a dataclass.
      rules: Rules as tuples: a field, whether its value is valid, and what the value must be or have.

    Raises:
      ConfigError: If a value is not valid; the message gives the dotted name of the first such field.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name == "kind" and value != field.default:
            raise ConfigError(f"`{section}kind` of {type(options).__name__} is {field.default}, not {value}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"`{section}{field.name}` is {value}; it must be finite")
        if any(isinstance(n, int) and abs(n) >= MOST for n in (value if isinstance(value, tuple) else (value,))):
            raise ConfigError(f"`{section}{field.name}` is {_shown(value)}; it must be below 2^32")
    for name, ok, must in rules:
        if not ok:
            raise ConfigError(f"`{section}{name}` is {_shown(getattr(options, name))}; it must {must}")


def at_least(options: Any, least: float, *names: str) -> list[Rule]:
    """Return rules by which each of these fields is None or not below `least`."""
    values = {name: getattr(options, name) for name in names}
    return [(name, value is None or value >= least, f"be at least {least}") for name, value in values.items()]


def positive(options: Any, *names: str) -> list[Rule]:
    """Return rules by which each of these fields is None or positive."""
    values = {name: getattr(options, name) for name in names}
    return [(name, value is None or value > 0, "be positive") for name, value in values.items()]


def fractions(options: Any, *names: str) -> list[Rule]:
    """Return rules by which each of these fields is None or in [0, 1)."""
    values = {name: getattr(options, name) for name in names}
    return [(name, value is None or 0 <= value < 1, "be in [0, 1)") for name, value in values.items()]


def widths(options: Any, *names: str) -> list[Rule]:
    """Return rules by which each of these fields is None or has widths of at least 1."""
    return [(name, all(w >= 1 for w in getattr(options, name) or ()), "have widths of at least 1") for name in names]


def _shown(value: Any) -> str:
    """Return a value in the form in which it is typed on a command line."""
    return (" ".join(map(str, value)) or "()") if isinstance(value, tuple) else str(value)
