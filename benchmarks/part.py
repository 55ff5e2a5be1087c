"""Results of one part of a benchmark for the console, markdown and JSON; and timing of contestants in turns."""

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
    """Results of one part of a benchmark.

    Attributes:
      title: What the part compares.
      text: How it compares them.
      header: Column names of the table.
      lines: Cells of the table.
      remarks: Lines below the table.
      rows: Numbers for JSON.
      ok: Whether the values that must agree do agree.
    """

    title: str
    text: str
    header: list[str]
    lines: list[list[str]]
    remarks: list[str]
    rows: list[dict[str, Any]]
    ok: bool = True

    def print(self, console: Console) -> None:
        """Print the table and the remarks."""
        table = Table(*self.header, title=self.title)
        for line in self.lines:
            table.add_row(*line)
        console.print(table)
        for line in self.remarks:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def markdown(self) -> str:
        """Return the results as a section in markdown."""
        blocks = [f"## {self.title}", self.text, markdown_table(self.header, self.lines)]
        blocks += ["\n".join(f"- {line}" for line in self.remarks)] if self.remarks else []
        return "\n\n".join(blocks)


def in_turns(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Return the seconds [repeats] of each contestant; they take turns, and the first turn is the warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def spread(values: Any) -> dict[str, float]:
    """Return the median, the minimum and the maximum."""
    return {"median": float(np.median(values)), "min": float(np.min(values)), "max": float(np.max(values))}


def spelled(values: dict[str, float], form: str) -> str:
    """Return a spread as text, with this number format."""
    return f"{values['median']:{form}} ({values['min']:{form}} to {values['max']:{form}})"
