"""Progress of a run: a bar on a terminal, and a line a minute in a pipe or a file."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_PER_LINE = 60.0


def progress(console: Console, steps: int, what: str = "training") -> Progress:
    """Return a progress bar with the rate and the remaining time; its only task counts the steps."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    bar.add_task(what, total=steps, rate="")
    return bar


class Pulse:
    """Lines about the progress, where there is no bar."""

    def __init__(self, console: Console, step: int, steps: int, what: str = "step") -> None:
        """Start at a step.

        Args:
          console: Console, which gets lines unless it is a terminal.
          step: Step from which the run continues, or 0.
          steps: Number of steps of the run.
          what: Name of a step.
        """
        self._what = what
        self._console, self._first, self._steps = console, step, steps
        self._began = self._said = time.monotonic()

    def beat(self, step: int, early: bool = False) -> None:
        """Print a line if the last one was a minute ago, or if `early` and the rest will take longer than that."""
        now = time.monotonic()
        left = (self._steps - step) * (now - self._began) / max(step - self._first, 1)
        due = SECONDS_PER_LINE if not early or left < SECONDS_PER_LINE else 0.0
        if self._console.is_terminal or now - self._said < due:
            return
        self._said = now
        self._console.print(f"{self._what} {step} of {self._steps}, about {duration(left)} left")


def duration(seconds: float) -> str:
    """Return a duration in words, such as `40 s`, `5 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
