"""Command lines from dataclasses, with error messages of one line."""

import contextlib
import dataclasses
import io
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from jepa_jax.config_json import member, members
from jepa_jax.errors import ConfigError, nearest

T = TypeVar("T")


def parse(kind: type[T], args: Sequence[str], *, prog: str, description: str, default: Any = None) -> T:
    """Parse arguments into a dataclass.

    Args:
      kind: Dataclass; nested dataclasses become dotted options, and `--section.kind` chooses one dataclass of a union.
      args: Arguments without the name of the program.
      prog: Name of the program in the help text.
      description: Description of the program in the help text.
      default: Instance whose values are the defaults. Unions require it.

    Raises:
      ConfigError: If an option or value is unknown; the message names the nearest valid one.
      SystemExit: With status 0, after `--help` was printed.
    """
    default = default if default is None else _with_kinds(default, args)
    known = list(options(kind if default is None else default))
    _refuse_switch_values(args, known)
    for arg in args:
        name = arg.split("=")[0].replace("_", "-")
        if name.startswith("--") and name not in known and not name.startswith("--tyro-"):  # shell completion
            raise ConfigError(f"unknown option {arg.split('=')[0]}{_hint(name, known, kind)} (--help lists them)")
    errors = io.StringIO()
    extra = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            # No subcommands, because the defaults determine the dataclass of each union.
            chosen: Any = tyro.conf.AvoidSubcommands[kind]  # type: ignore[valid-type]
            return tyro.cli(chosen, args=list(args), prog=prog, description=description, **extra)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _refusal(stop) or ConfigError(_one_line(errors.getvalue())) from None


def exit_status(run: Callable[[], int], options: type) -> int:
    """Return the exit status of a program: that of `run`, or 2 after one line if its arguments or input are wrong.

    Args:
      run: Program.
      options: Dataclass of its command line, by which fields in messages are written as options.
    """
    try:
        return run()
    except ConfigError as error:
        print(f"error: {as_flags(str(error), options)}", file=sys.stderr)
    except OSError as error:
        if error.filename is None:  # not about a file that was named
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


def program(name: str, package: str | None) -> tuple[str, ...]:
    """Return the command that starts a program in the way in which this one was started.

    Args:
      name: Name of the program, such as `score`.
      package: Package of the caller.

    Returns:
      Words of the command: `jepa-NAME`, `python -m NAME` or `python -m jepa_jax.NAME`.
    """
    if Path(sys.argv[0]).name.startswith("jepa-"):
        return (f"jepa-{name}",)
    above = (package or "").rpartition(".")[0]
    return ("python", "-m", f"{above}.{name}".lstrip("."))


def renamed(args: Sequence[str], names: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Replace the old names of options by their new ones.

    Args:
      args: Arguments of a command line.
      names: Dotted names of fields, from old to new.

    Returns:
      The arguments with the new names, and one line of text for each replacement.
    """
    now, notes = list(args), []
    flags = {_flag(old): _flag(new) for old, new in names.items()}
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        new = flags.get(name.replace("_", "-")) if name.startswith("--") else None
        if new is not None:
            now[i] = f"{new}{equals}{value}"
            notes.append(f"{name} was renamed to {new} in jepa_jax 0.2")
    return now, notes


def as_flags(message: str, kind: Any) -> str:
    """Return a message with its field names, such as `optim.lr`, written as options of the command line of `kind`."""
    known = set(_every_option(kind))

    def flag(match: re.Match[str]) -> str:
        option = _flag(match[1])
        return option if option in known else match[0]

    return re.sub(r"`([a-z_.]+)`", flag, message)


def options(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the options of a dataclass or of an instance.

    Args:
      kind: Dataclass, or an instance, whose sections then have the kinds that they have in the instance.
      prefix: Text before the names of the fields, such as `optim.`.
    """
    yield from ("--help", "-h")
    hints = typing.get_type_hints(kind if isinstance(kind, type) else type(kind))
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name}"
        section = hints[field.name] if isinstance(kind, type) else getattr(kind, field.name)
        if dataclasses.is_dataclass(section):
            yield from options(section, f"{name}.")
        else:
            yield _flag(name)
            if hints[field.name] is bool:
                yield _flag(f"{prefix}no_{field.name}")


def _refuse_switch_values(args: Sequence[str], known: Sequence[str]) -> None:
    """Check that no option that is on or off is given a value.

    Raises:
      ConfigError: If one is; the message names the option that does the same.
    """
    for name, value in _with_values(args):
        head, dot, last = name[2:].rpartition(".")
        off = f"--{head}{dot}no-{last}"
        if name in known and off in known and value.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            use = name if value.lower() in ("true", "yes", "on", "1") else off
            raise ConfigError(f"{name} takes no value; say {use}")


def _with_values(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option, with dashes in its name, and what is typed after it, or ""."""
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            yield name.replace("_", "-"), value if equals else args[i + 1] if i + 1 < len(args) else ""


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _unions(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted names and types of all sections that exist in several kinds, within every kind."""
    for name, hint in typing.get_type_hints(kind).items():
        found = members(hint)
        if found:
            yield f"{prefix}{name}", hint
        for section in found or ((hint,) if dataclasses.is_dataclass(hint) else ()):
            yield from _unions(section, f"{prefix}{name}.")


def _every_option(kind: Any) -> Iterator[str]:
    """Yield the options of a dataclass, including those of every kind of its sections."""
    yield from options(kind)
    for name, hint in _unions(kind):
        for option in members(hint):
            yield from options(option, f"{name}.")


def _with_kinds(default: Any, args: Sequence[str]) -> Any:
    """Return the defaults with the kinds that the arguments request.

    Fields that two kinds share, in name and type, keep their values, unless the new kind derives them.
    """
    for name, hint in dict(_unions(type(default))).items():
        wanted = _value(args, _flag(f"{name}.kind"))
        node = default
        *above, last = name.split(".")
        try:
            for section in above:
                node = getattr(node, section)
            now = getattr(node, last)
        except AttributeError:  # the section has another kind
            continue
        if wanted is None or wanted == now.kind:
            continue
        try:
            target = member(hint, wanted, name)
        except ConfigError:
            known = (next(f.default for f in dataclasses.fields(o) if f.name == "kind") for o in members(hint))
            raise ConfigError(f"{_flag(name)}.kind cannot be {wanted!r}{nearest(wanted, map(str, known))}") from None
        hints, before = typing.get_type_hints(target), typing.get_type_hints(type(now))
        shared = {f.name for f in dataclasses.fields(target) if not f.metadata.get("derived")} - {"kind"}
        kept = {name for name in shared if name in before and hints[name] == before[name]}
        default = _replaced(default, name.split("."), target(**{field: getattr(now, field) for field in kept}))
    return default


def _replaced(node: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    return dataclasses.replace(node, **{path[0]: _replaced(getattr(node, path[0]), path[1:], value)})


def _value(args: Sequence[str], option: str) -> str | None:
    """Return the last value of an option, or None."""
    return next((value for name, value in reversed(list(_with_values(args))) if name == option), None)


def _hint(name: str, known: Sequence[str], kind: Any) -> str:
    """Return the end of the message about an unknown option: the kind that has the option, or the nearest name."""
    for section, hint in _unions(kind):
        for option in members(hint):
            if name in options(option, f"{section}."):
                which = next(f.default for f in dataclasses.fields(option) if f.name == "kind")
                return f"; it is an option of {_flag(section)}.kind {which}"
    return nearest(name, known)


def _refusal(stop: BaseException) -> ConfigError | None:
    """Return the error of a dataclass that refused its values, which the parser caught, or None."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__ or error.__context__
    return error


def _one_line(boxed: str) -> str:
    """Return the message inside the box of several lines that tyro prints."""
    lines = [re.sub(r"[\u2500-\u257f]", " ", line).strip(" |") for line in boxed.splitlines()]
    lines = [line for line in lines if line and not re.fullmatch(r"[-+ ]+", line)]
    end = next((i for i, line in enumerate(lines) if line.startswith(("For full helptext", "Argument helptext"))), None)
    message = re.sub(r"\s+", " ", " ".join(lines[1:end]))
    union = re.search(r"Error parsing (\S+): no type matching (\S+) could be instantiated from \['(.*?)'\]", message)
    if union:  # a field of several types, such as a number or a word
        option, types, value = union.groups()
        words = [word for word in re.findall(r"\w+", types) if not word.isupper()]
        number = ["a number"] if re.search(r"FLOAT|INT", types) else []
        return f"{option} cannot be {value!r}; it takes {' or '.join((*number, *words))}"
    stray = re.search(r"Unrecognized options: (.*)", message)
    if stray and not stray[1].startswith("-"):
        words = stray[1].replace(",", " ").split()
        shown = f"{words[0]} and {len(words) - 1} other words" if len(words) > 2 else " and ".join(words)
        return f"{shown}: no option takes this; an option takes one value, so quote a pattern or name the folder"
    choice = re.search(r"invalid choice '([^']*)' for argument '([^']*)'.*Expected one of \((.*)\)", message)
    if message.startswith("Missing from"):
        return f"missing {' and '.join(re.findall(r'--[a-z-]+', message)) or 'the first argument'}; --help explains"
    if choice:
        value, option, known = choice.groups()
        return f"{option} cannot be {value!r}{nearest(value, re.findall(r'[^ ,' + chr(39) + r']+', known))}"
    return message or "the arguments cannot be read; --help lists them"
