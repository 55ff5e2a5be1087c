"""Choice of the checkpoints of a run: at regular steps, at the end, and whenever the density is better than before."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.checkpoint import Checkpoints, SaveError, saved_steps, values
from jepa_jax.config import Config
from jepa_jax.distributed import broadcast
from jepa_jax.training.step import State

# Metrics that `auto` stands for; the first one that the run has is used.
BEST_METRICS = ("density/log_density_spearman", "density/spearman", "heldout_nats", "probe/linear")


class Checkpointing:
    """Writer of the checkpoints of a run. All processes must take part in every call.

    Attributes:
      saved: Newest step that was saved, or 0.
    """

    def __init__(self, out: Path, config: Config) -> None:
        self._out, self._config = out, config
        self._checkpoints = Checkpoints(out, config.checkpoint.keep)
        self.saved = max(saved_steps(out), default=0)
        self._best = max(values(out).values(), default=-np.inf)
        self._value: float | None = None  # of the step that was evaluated last
        self._judged = -1
        self._better = False
        self._open = True

    def judge(self, step: int, row: dict[str, Any]) -> None:
        """Record the metrics of an evaluation, which determine whether this step is the best one.

        Args:
          step: Step of the evaluation.
          row: Metrics by name; empty if the density was not evaluated at this step.
        """
        name = self._config.checkpoint.best
        if name == "auto":
            name = next((n for n in BEST_METRICS if n in row), None)
        value = broadcast(float(row.get(name, np.nan)) if name is not None else np.nan)
        self._value = value if np.isfinite(value) else None
        self._judged = step
        self._better = self._value is not None and self._value > self._best

    def is_due(self, step: int) -> bool:
        """Return whether this step must be saved."""
        better = self._judged == step and self._better
        return better or step % self._config.checkpoint.every == 0 or step == self._config.steps

    def save(self, step: int, state: State, window: np.ndarray, position: dict[str, int] | None) -> None:
        """Start to save a step; the previous checkpoint is complete when this returns.

        Args:
          step: Number of steps taken.
          state: State after these steps.
          window: Metrics [n, 4] of the steps since the last line in metrics.jsonl.
          position: Position of the loader in the data, or None.

        Raises:
          SaveError: If this checkpoint or the previous one cannot be written.
        """
        if step in saved_steps(self._out):
            return
        value = self._value if self._judged == step else None
        self._checkpoints.save(step, state, {"window": window.tolist(), "data": position}, value)
        if value is not None:
            self._best = max(self._best, value)
        self.saved = step

    def best_step(self) -> int | None:
        """Return the best step among those that were evaluated, or None."""
        judged = values(self._out)
        return max(judged, key=lambda s: (judged[s], s)) if judged else None

    def kept(self) -> str:
        """Return a clause that says from which checkpoint a failed run can continue."""
        steps = saved_steps(self._out)
        return f"the last good checkpoint, step {steps[-1]}, is kept" if steps else "there is no checkpoint yet"

    def close(self) -> None:
        """Wait for pending writes.

        Raises:
          SaveError: If a write fails.
        """
        self._open = False
        self._checkpoints.close()

    def abandon(self) -> None:
        """Wait for pending writes, unless `close` did so, and ignore their errors."""
        if self._open:
            with contextlib.suppress(SaveError):
                self.close()
