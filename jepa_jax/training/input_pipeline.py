"""Input of the training steps: arrays that stay on the devices, or batches that are read during the previous step."""

import time
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jepa_jax.data import Source
from jepa_jax.sharding import batch_sharding, replicated
from jepa_jax.training.step import State, Trainer


class InputPipeline:
    """Runner of the steps of a run, which provides their input.

    Attributes:
      idle: Upper bound of the time in which the devices waited for a batch, in seconds.
    """

    def __init__(self, source: Source, mesh: Mesh, position: dict[str, int] | None) -> None:
        """Open the data of a run.

        Args:
          source: Data of the run.
          mesh: Mesh of the devices.
          position: Position of the loader after which to continue; None starts at the beginning.

        Raises:
          ConfigError: If the position belongs to other data.
        """
        self.idle = 0.0
        self._mesh = mesh
        self._arrays = None
        self._batches = None
        self._ahead: tuple[Any, dict[str, int]] | None = None  # next batch, and the position after it
        self._position: dict[str, int] | None = None
        if source.batches is None:
            several = mesh.size > 1
            self._arrays = jax.device_put(source.arrays, replicated(mesh)) if several else source.arrays
            return
        self._batches = source.batches()
        if position is not None:
            self._batches.set_state(position)
        self._position = self._batches.get_state()

    def compile(self, trainer: Trainer, state: State, step: int) -> State:
        """Compile the step before any time is measured, by zero steps on a batch of zeros, which change nothing."""
        arrays = self._arrays
        if self._batches is not None:
            zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), self._batches.spec)
            arrays = self._placed(zeros)
        return trainer.run(state, arrays, step, step)[0]

    def advance(self, trainer: Trainer, state: State, step: int, stop: int) -> tuple[State, np.ndarray]:
        """Take the steps from `step` + 1 to `stop`, and wait for the devices.

        Args:
          trainer: Functions of the run.
          state: State after `step` steps, which is donated.
          step: Number of steps taken before.
          stop: Number of steps taken afterwards.

        Returns:
          The new state, and the metrics of these steps [stop - step, 4].
        """
        if self._batches is None:
            state, rows = trainer.run(state, self._arrays, step, stop)
            return state, np.asarray(rows)[: stop - step]
        taken: list[Any] = []
        for number in range(step, stop):
            if self._ahead is None:
                self._read_ahead(None)
            assert self._ahead is not None
            arrays, self._position = self._ahead
            state, rows = trainer.run(state, arrays, number, number + 1)
            self._read_ahead(rows)  # while the step runs
            taken.append(rows)
            if len(taken) > 1:  # wait, so that only one step and its batch are queued on the devices
                taken[-2] = np.asarray(taken[-2])
        return state, np.stack([np.asarray(rows)[0] for rows in taken])

    def _read_ahead(self, running: Any) -> None:
        """Read and place the next batch; count the time as idle if the running step is done by then."""
        assert self._batches is not None
        began = time.perf_counter()
        batch = next(self._batches)
        share = {name: batch[name].astype(a.dtype) for name, a in self._batches.spec.items()}
        self._ahead = self._placed(share), self._batches.get_state()
        if running is None or running.is_ready():
            self.idle += time.perf_counter() - began

    def position(self) -> dict[str, int] | None:
        """Return the position from which to continue, for JSON; None for arrays, which need none."""
        return self._position

    def unreadable(self) -> str | None:
        """Return one line that names the images that could not be read, or None if there are none."""
        return None if self._batches is None else self._batches.unreadable()

    def close(self) -> None:
        """Stop the loader."""
        if self._batches is not None:
            self._batches.close()

    def _placed(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Place this process's share of a batch on its devices."""
        if self._mesh.size == 1:
            return jax.device_put(batch)
        sharding = batch_sharding(self._mesh)
        return {name: jax.make_array_from_process_local_data(sharding, share) for name, share in batch.items()}
