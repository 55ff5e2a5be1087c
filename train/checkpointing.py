"""Which checkpoints a run writes: at regular steps, at the end, and whenever the density is better than before."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.checkpoint import Checkpoints, SaveError, saved_steps, values
from jepa_jax.config import Config
from jepa_jax.distributed import broadcast
from jepa_jax.errors import ConfigError
from jepa_jax.training.step import State

BEST = ("density/log_density_spearman", "density/spearman", "probe/linear")  # of `auto`: the first that there is


class Checkpointing:
    """Writes a run's checkpoints. All processes take part in every call.

    Attributes:
      saved: the newest step that was saved, or 0.
    """

    def __init__(self, out: Path, config: Config) -> None:
        self._out, self._config = out, config
        self._checkpoints = Checkpoints(out, config.checkpoint.keep)
        self.saved = max(saved_steps(out), default=0)
        self._best = max(values(out).values(), default=-np.inf)
        self._value: float | None = None  # of the step that was last judged
        self._judged = -1
        self._better = False
        self._open = True

    def judge(self, step: int, row: dict[str, Any]) -> None:
        """Take note of the metrics of a look; an empty row is none.

        Raises:
          ConfigError: they have no metric of the name that says which is the best.
        """
        name = self._config.checkpoint.best
        if name == "auto":
            name = next((n for n in BEST if n in row), None)
        elif name is not None and row and name not in row:
            numbers = ", ".join(k for k, v in row.items() if isinstance(v, float | np.floating))
            raise ConfigError(f"--checkpoint.best {name} is no metric of this run; take one of {numbers}")
        value = broadcast(float(row.get(name, np.nan)) if name is not None else np.nan)
        self._value = value if np.isfinite(value) else None
        self._judged = step
        self._better = self._value is not None and self._value > self._best

    def is_due(self, step: int) -> bool:
        """Whether this step is to be saved."""
        better = self._judged == step and self._better
        return better or step % self._config.checkpoint.every == 0 or step == self._config.steps

    def save(self, step: int, state: State, window: np.ndarray, position: dict[str, int] | None) -> None:
        """Begin to save a step; the one before is whole when this returns.

        Args:
          window: metrics [n, ...] of the steps since the last line.
          position: of the data.

        Raises:
          SaveError: it cannot be written, or the one before could not.
        """
        if step in saved_steps(self._out):
            return
        value = self._value if self._judged == step else None
        self._checkpoints.save(step, state, {"window": window.tolist(), "data": position}, value)
        if value is not None:
            self._best = max(self._best, value)
        self.saved = step

    def best_step(self) -> int | None:
        """The step that was best, of those that were judged."""
        judged = values(self._out)
        return max(judged, key=lambda s: (judged[s], s)) if judged else None

    def kept(self) -> str:
        """Which checkpoint a run that fails can go on from, in a few words."""
        steps = saved_steps(self._out)
        return f"the last good checkpoint, step {steps[-1]}, is kept" if steps else "there is no checkpoint yet"

    def close(self) -> None:
        """Wait for what is being written.

        Raises:
          SaveError: it cannot be.
        """
        self._open = False
        self._checkpoints.close()

    def abandon(self) -> None:
        """Wait for what is being written, if that was not done, and say nothing more of it."""
        if self._open:
            with contextlib.suppress(SaveError):
                self.close()
