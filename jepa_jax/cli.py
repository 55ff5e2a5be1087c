"""Command lines from dataclasses, with errors of one line."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from jepa_jax.errors import ConfigError, nearest

T = TypeVar("T")


def parse(kind: type[T], args: Sequence[str], *, prog: str, description: str, default: Any = None) -> T:
    """Parse arguments into a dataclass.

    Args:
      kind: the dataclass; nested ones become dotted options.
      args: without the program's name.
      default: an instance whose values are the defaults.

    Raises:
      ConfigError: an unknown option or value; the message names the nearest valid one.
      SystemExit: 0, after `--help` was printed.
    """
    known = list(_options(kind))
    for arg in args:
        name = arg.split("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known:
            raise ConfigError(f"unknown option {arg.split('=')[0]}{nearest(name, known)} (--help lists them)")
    errors = io.StringIO()
    extra = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, args=list(args), prog=prog, description=description, **extra)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ConfigError(_one_line(errors.getvalue())) from None


def as_flags(message: str, kind: Any) -> str:
    """A message of the library with its fields, such as `optim.lr`, written as the options of this command line."""
    known = set(_options(kind))

    def flag(match: re.Match[str]) -> str:
        option = f"--{match[1].replace('_', '-')}"
        return option if option in known else match[0]

    return re.sub(r"`([a-z_.]+)`", flag, message)


def _options(kind: Any, prefix: str = "") -> typing.Iterator[str]:
    yield from ("--help", "-h")
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _options(hints[field.name], f"{name}.")
        else:
            yield f"--{name}"
            if hints[field.name] is bool:
                yield f"--{prefix}no-{field.name.replace('_', '-')}"


def _one_line(boxed: str) -> str:
    """The message inside tyro's box of several lines."""
    lines = [re.sub(r"[\u2500-\u257f]", " ", line).strip(" |") for line in boxed.splitlines()]
    lines = [line for line in lines if line and not re.fullmatch(r"[-+ ]+", line)]
    end = next((i for i, line in enumerate(lines) if line.startswith(("For full helptext", "Argument helptext"))), None)
    message = re.sub(r"\s+", " ", " ".join(lines[1:end]))
    choice = re.search(r"invalid choice '([^']*)' for argument '([^']*)'.*Expected one of \((.*)\)", message)
    if message.startswith("Missing from"):
        return f"missing {' and '.join(re.findall(r'--[a-z-]+', message)) or 'the first argument'}; --help explains"
    if choice:
        value, option, known = choice.groups()
        return f"{option} cannot be {value!r}{nearest(value, re.findall(r'[^ ,' + chr(39) + r']+', known))}"
    return message or "the arguments cannot be read; --help lists them"
