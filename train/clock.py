"""Counters of a run: the current step, the duration of a step, and the shares of the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from jepa_jax.config import Config
from jepa_jax.training import METRICS, STEPS_PER_DISPATCH

FIRST_DISPATCH_STEPS = 4  # steps in the first dispatch, before the duration of a step is known
SECONDS_PER_DISPATCH = 0.5  # short enough that the progress bar moves and Ctrl-C takes effect soon


class Clock:
    """Counters of a run.

    Attributes:
      step: Last step that was taken.
      window: Metrics [n, 4] of the steps since the last line in metrics.jsonl.
      seconds: Training time in seconds since the last line, or since the run was resumed.
      watching: Time spent on evaluation in this call, in seconds.
      drawing: Time spent on figures in this call, in seconds.
      training: Time spent on training in this call, in seconds.
    """

    def __init__(self, config: Config, step: int, window: np.ndarray) -> None:
        """Start the counters at a step.

        Args:
          config: Config, which contains the periods of the events.
          step: Step of the checkpoint from which the run continues, or 0.
          window: Metrics [n, 4] of the steps since the last line in metrics.jsonl.
        """
        self.step, self.window = step, window
        self.seconds = self.watching = self.drawing = self.training = 0.0
        self._config = config
        self._counted = 0  # steps since the last line
        self._dispatch = FIRST_DISPATCH_STEPS

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
        """Return the number of steps in the next dispatch, which ends at the next event at the latest."""
        return min(self._dispatch, next_event(self.step, self._config) - self.step)

    def advance(self, rows: np.ndarray, seconds: float) -> None:
        """Count the steps of a dispatch, with their metrics `rows` [n, 4] and their duration in seconds."""
        self._dispatch = next_dispatch(len(rows), seconds)
        self.step += len(rows)
        self.window = np.concatenate([self.window, rows])
        self._counted += len(rows)
        self.seconds += seconds
        self.training += seconds

    def means(self, batch_size: int) -> dict[str, float]:
        """Return the metrics of a line: the means over the steps since the last line, and the samples per second."""
        means = dict(zip(METRICS, self.window.mean(axis=0), strict=True))
        return {"step": self.step, **means, "samples_per_second": self._counted * batch_size / self.seconds}

    def rate(self) -> str:
        """Return the steps per second since the last line, for the progress bar."""
        return f"{self._counted / self.seconds:.0f} steps/s"

    def start_line(self) -> None:
        """Reset the counters for the next line."""
        self.window, self._counted, self.seconds = self.window[:0], 0, 0.0

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Add the duration of the block to `watching` or `drawing`."""
        began = time.perf_counter()
        yield
        setattr(self, what, getattr(self, what) + time.perf_counter() - began)

    def shares(self) -> dict[str, float]:
        """Return the shares of the time spent on evaluation and on figures; empty if no step was taken."""
        if not self.training:
            return {}
        whole = self.watching + self.drawing + self.training
        return {"monitor/time_share": self.watching / whole, "figures/time_share": self.drawing / whole}


def is_due(step: int, every: int) -> bool:
    """Return whether an event with the period `every` in steps (0: never) happens at this step."""
    return every > 0 and step % every == 0


def next_event(step: int, config: Config) -> int:
    """Return the next step at which the run is logged, evaluated or saved, or ends."""
    periods = (config.monitor.every, config.monitor.log_every, config.checkpoint.every)
    return min([config.steps, *(step - step % n + n for n in periods if n)])


def next_dispatch(steps: int, seconds: float) -> int:
    """Return the number of steps for the next dispatch to last about SECONDS_PER_DISPATCH.

    The number grows at most fourfold from one dispatch to the next.

    Args:
      steps: Steps in the last dispatch.
      seconds: Duration of the last dispatch.
    """
    wanted = int(steps * SECONDS_PER_DISPATCH / max(seconds, 1e-6))
    return max(1, min(wanted, 4 * steps, STEPS_PER_DISPATCH))
