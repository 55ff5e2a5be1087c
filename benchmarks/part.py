"""A part of a benchmark: what it measured, for the console, for markdown and for JSON; and contestants in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.report import markdown_table


@dataclass(frozen=True)
class Part:
    """What a part found.

    Attributes:
      title, text: what it compares, and how.
      header, lines: its table.
      remarks: lines below it.
      rows: the numbers.
      ok: whether what must agree does.
    """

    title: str
    text: str
    header: list[str]
    lines: list[list[str]]
    remarks: list[str]
    rows: list[dict[str, Any]]
    ok: bool = True

    def print(self, console: Console) -> None:
        """The table and the remarks."""
        table = Table(*self.header, title=self.title)
        for line in self.lines:
            table.add_row(*line)
        console.print(table)
        for line in self.remarks:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def markdown(self) -> str:
        """The same as a section."""
        blocks = [f"## {self.title}", self.text, markdown_table(self.header, self.lines)]
        blocks += ["\n".join(f"- {line}" for line in self.remarks)] if self.remarks else []
        return "\n\n".join(blocks)


def in_turns(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds [repeats] of each contestant, after a first turn that is the warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def spread(values: Any) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": float(np.median(values)), "min": float(np.min(values)), "max": float(np.max(values))}


def spelled(values: dict[str, float], form: str) -> str:
    """A spread as text."""
    return f"{values['median']:{form}} ({values['min']:{form}} to {values['max']:{form}})"


def verdict(reached: bool) -> str:
    """Of a bar."""
    return "reached" if reached else "MISSED"
