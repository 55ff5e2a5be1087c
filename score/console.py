"""What the programs select and compare share on the command line."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jepa_jax import __version__
from jepa_jax.cli import exit_status, parse, program

T = TypeVar("T")
WIDE = 10_000  # columns of text, more than any row has, where nothing is a terminal


def answer(args: Sequence[str], kind: type[T], name: str, description: str, run: Callable[[T], None]) -> int:
    """Parse a command line, run a program, and return its exit status: 0, or 2 if the input is wrong.

    Args:
      args: Arguments without the name of the program.
      kind: Dataclass of the arguments.
      name: Name of the program below this package.
      description: Description in the help text, in which `PROGRAM` stands for the command.
      run: Program.
    """
    if list(args[:1]) == ["--version"]:
        print(__version__)
        return 0
    prog = " ".join(program(name, f"{__package__}.{name}"))

    def whole() -> int:
        run(parse(kind, args, prog=prog, description=description.replace("PROGRAM", prog)))
        return 0

    return exit_status(whole, kind)


def show_rows(title: str, names: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str]) -> None:
    """Print a table.

    Args:
      title: Line above it.
      names: Headings of the columns.
      rows: Rows; text as it is, numbers to four digits or more.
      right: Headings of the columns of numbers.
    """
    table = Table(title=escape(title), title_justify="left")
    for name in names:
        table.add_column(escape(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(value if isinstance(value, str) else _short(value)) for value in row))
    terminal = sys.stdout.isatty()
    Console(highlight=False, width=None if terminal else WIDE).print(table)


def _short(value: float) -> str:
    return "" if value != value else f"{value:.6g}"
