"""Options `--dry-run --target NAME --json FILE`, which the programs share, and their course."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from jepa_jax.ahead.requirements import Requirements, in_bytes, show
from jepa_jax.ahead.targets import find_target
from jepa_jax.errors import ConfigError
from jepa_jax.files import write_atomically


def check_ahead(dry_run: bool, target: str | None, file: str | None) -> None:
    """Check the options before anything is compiled, which takes minutes.

    Raises:
      ConfigError: If there is no dry run, the target is unknown, or the file cannot be written.
    """
    for name, value in (("target", target), ("json", file)):
        if value is not None and not dry_run:
            raise ConfigError(f"`{name}` is about a dry run; add `dry_run`, or leave it out")
    if target is not None:
        find_target(target)
    if file is not None:
        path = Path(file)
        if path.suffix != ".json":
            raise ConfigError(f"`json` is {file}; it must end in .json")
        if not path.parent.is_dir():
            raise ConfigError(f"`json` is {file}; there is no folder {path.parent}")


def conclude(
    found: Requirements,
    lighter: Iterable[tuple[str, Callable[[], Requirements]]],
    console: Console,
    file: str | None,
    beside: Sequence[Requirements] = (),
) -> None:
    """Print requirements and write them to a file; if the program does not fit, find options with which it does.

    Args:
      found: Requirements of the program.
      lighter: Options that need less memory, with a function that compiles the program with them. They are tried in
        this order until one fits; a function may raise ConfigError for options that are invalid.
      console: Console for the tables.
      file: File to write, or None.
      beside: Requirements of further programs that run beside it, with the same devices.

    Raises:
      ConfigError: If a program does not fit, in one line that says how much is missing and which options suffice; or
        the file cannot be written.
    """
    for each in (found, *beside):
        show(each, console)
    options, fitting = (None, None) if found.fits else _first_that_fits(lighter, console)
    if fitting is not None:
        show(fitting, console)
    if file is not None:
        write_json(file, [found, *beside] if fitting is None else [found, fitting, *beside])
    enough = f"it fits with {options}" if options else "it fits with none of the options tried"
    for each in (found, *beside):
        if not each.fits:
            enough = enough if each is found else "take a smaller --batch-size"
            at_least = "" if "temporaries" in each.memory else "at least "  # the compiler gave up early
            raise ConfigError(
                f"{each.program} lacks {at_least}{in_bytes(each.missing)} on each device of {each.target}; {enough}"
            )


def _first_that_fits(
    lighter: Iterable[tuple[str, Callable[[], Requirements]]], console: Console
) -> tuple[str | None, Requirements | None]:
    for options, compile_it in lighter:
        console.print(f"it does not fit; trying {options}", markup=False)
        try:
            found = compile_it()
        except ConfigError:
            continue
        if found.fits:
            return options, found
    return None, None


def write_json(path: str, found: Sequence[Requirements]) -> None:
    """Write requirements to a file.

    Raises:
      ConfigError: If it cannot be written.
    """
    text = json.dumps([each.to_dict() for each in found], indent=2) + "\n"
    try:
        write_atomically(Path(path), lambda temporary: temporary.write_text(text))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
