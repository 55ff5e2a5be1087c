"""The counters of a run: which step it is at, how long steps take, and where the time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from jepa_jax.config import Config
from jepa_jax.training import METRICS, STEPS_PER_DISPATCH

FIRST_DISPATCH = 4  # steps, before it is known how long they take
SECONDS_PER_DISPATCH = 0.5  # so that progress moves and Ctrl-C is heard


class Clock:
    """Counters of a run.

    Attributes:
      step: the last step that was taken.
      window: [n, 4] metrics of the steps since the last line in metrics.jsonl.
      seconds: training time since the last line; a resume knows none before it.
      watching, drawing, training: seconds of the whole call.
    """

    def __init__(self, config: Config, step: int, window: np.ndarray) -> None:
        """Counters at a step.

        Args:
          config: whose periods count.
          step: of the checkpoint that the run goes on from, or 0.
          window: metrics [n, 4] of the steps since the last line.
        """
        self.step, self.window = step, window
        self.seconds = self.watching = self.drawing = self.training = 0.0
        self._config = config
        self._counted = 0  # steps since the last line
        self._dispatch = FIRST_DISPATCH

    @property
    def finished(self) -> bool:
        """Whether the last step was taken."""
        return self.step >= self._config.steps

    @property
    def looking(self) -> bool:
        """Whether the density is evaluated at this step."""
        return is_due(self.step, self._config.monitor.every) or self.finished

    @property
    def line_due(self) -> bool:
        """Whether a line in metrics.jsonl is due at this step."""
        return self.looking or is_due(self.step, self._config.monitor.log_every)

    def next_steps(self) -> int:
        """How many steps the next dispatch takes: no further than the next event."""
        return min(self._dispatch, next_event(self.step, self._config) - self.step)

    def advance(self, rows: np.ndarray, seconds: float) -> None:
        """Count the steps of a dispatch, with their metrics [n, 4] and the time they took."""
        self._dispatch = next_dispatch(len(rows), seconds)
        self.step += len(rows)
        self.window = np.concatenate([self.window, rows])
        self._counted += len(rows)
        self.seconds += seconds
        self.training += seconds

    def means(self, batch_size: int) -> dict[str, float]:
        """What a line says of the steps since the last one."""
        means = dict(zip(METRICS, self.window.mean(axis=0), strict=True))
        return {"step": self.step, **means, "samples_per_second": self._counted * batch_size / self.seconds}

    def rate(self) -> str:
        """Steps per second since the last line, for the progress bar."""
        return f"{self._counted / self.seconds:.0f} steps/s"

    def start_line(self) -> None:
        """Begin to count for the next line."""
        self.window, self._counted, self.seconds = self.window[:0], 0, 0.0

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Add the time of the block to `watching` or `drawing`."""
        began = time.perf_counter()
        yield
        setattr(self, what, getattr(self, what) + time.perf_counter() - began)

    def shares(self) -> dict[str, float]:
        """Shares of the time that monitors and pictures took; empty where no step was taken."""
        if not self.training:
            return {}
        whole = self.watching + self.drawing + self.training
        return {"monitor/time_share": self.watching / whole, "figures/time_share": self.drawing / whole}


def is_due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens at this one."""
    return every > 0 and step % every == 0


def next_event(step: int, config: Config) -> int:
    """The next step at which something is logged, evaluated or saved, or the run ends."""
    periods = (config.monitor.every, config.monitor.log_every, config.checkpoint.every)
    return min([config.steps, *(step - step % n + n for n in periods if n)])


def next_dispatch(steps: int, seconds: float) -> int:
    """How many steps to ask for next: about SECONDS_PER_DISPATCH of them, growing at most fourfold at a time."""
    wanted = int(steps * SECONDS_PER_DISPATCH / max(seconds, 1e-6))
    return max(1, min(wanted, 4 * steps, STEPS_PER_DISPATCH))
