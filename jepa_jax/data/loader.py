"""Endless batches of a dataset: shuffled, divided among processes, read ahead, and resumable."""

import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jepa_jax.data.prepared import PreparedImages
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing, Unreadable

READ_AHEAD_BYTES = 2**30  # maximum size of what threads read ahead, unless a single batch is larger


class WorkerError(RuntimeError):
    """Error of a worker process that died; its message is one line."""


@dataclass(frozen=True)
class LoaderOptions:
    """Options of a loader.

    Attributes:
      batch_size: Samples of a batch, over all processes.
      seed: Seed of the shuffles.
      size: Side in pixels to which each image is brought: its shorter side is resized to it, and the square in the
        centre is cropped. None: the images have one size already.
      workers: Number of worker processes that read and decode; 0 uses threads of this process. Arrays in memory are
        read without workers.
      process: Index of this process, which reads its share of every batch.
      processes: Number of processes.
      channels: 3 for colour, 1 for grey; or the number of channels of the images.
      labels: Whether a dataset without labels is an error.
      holdout: Fraction of the samples, a fixed random choice, that is kept out.
      preprocessing: Recipe with another resize and crop than those of `size`, or None.
      max_pixels: Maximum number of pixels of an image file; None for that of the environment.
    """

    batch_size: int
    seed: int
    size: int | None
    workers: int = 0
    process: int = 0
    processes: int = 1
    channels: int = 3
    labels: bool = False
    holdout: float = 0.0
    preprocessing: Preprocessing | None = None
    max_pixels: int | None = None


class Loader:
    """Iterator over batches, without end.

    All processes together follow one sequence of samples, which has a permutation of the dataset in each epoch, and
    take turns: a batch holds the same samples however many processes share it. A batch may extend over the end of an
    epoch.
    """

    def __init__(self, samples: PreparedImages, options: LoaderOptions) -> None:
        """Start at the beginning of the sequence."""
        self._samples, self._options = samples, options
        self._next = 0  # position in the sequence of all processes; batches that were only read ahead do not count
        self._iterator: Any = None
        self._unreadable: set[int] = set()

    @property
    def spec(self) -> dict[str, Any]:
        """Shapes and types of what a step reads of a batch of this process: `x` and `index`."""
        size = self._options.batch_size // self._options.processes
        dtype = self._samples.dtype
        return {
            "x": jax.ShapeDtypeStruct((size, *self._samples.shape), dtype),
            "index": jax.ShapeDtypeStruct((size,), np.uint32),  # JAX has no 64-bit types unless they are enabled
        }

    def __iter__(self) -> "Loader":
        """Return the loader itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Return the next batch, with b = batch_size // processes samples.

        Returns:
          `x` uint8 or float32 [b, H, W, C]; `label` int32 [b], -1 for no label; `index` int64 [b], the indices of the
          samples in the dataset; `log_density` float32 [b] if it is known.

        Raises:
          ConfigError: If no image can be read, or the images differ in size.
          WorkerError: If a worker process died.
        """
        if self._iterator is None:
            self._iterator = _read_ahead(self._samples, self._options, self._next)
        try:
            batch = next(self._iterator)
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise WorkerError("a process that reads images died, perhaps for lack of memory") from None
        self._next += self._options.batch_size
        skipped = batch.pop("skipped")
        for row in np.flatnonzero(skipped):
            before = batch["index"][row] - np.arange(1, skipped[row] + 1)
            self._unreadable.update((before % len(self._samples)).tolist())
        return batch

    def get_state(self) -> dict[str, int]:
        """Return the position in the sequence, for JSON; it is the same for any number of workers and processes."""
        return {"next": self._next, "seed": self._options.seed, "count": len(self._samples)}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue with exactly the batch that followed `get_state`.

        Raises:
          ConfigError: If the state belongs to other data or to another seed, for which the sequence differs.
        """
        here = self.get_state()
        for name, what in (("seed", "the seed"), ("count", f"the number of images in {self._samples.dataset.name}")):
            if state[name] != here[name]:
                raise ConfigError(
                    f"{what} was {state[name]} when the run was saved and is {here[name]} now; "
                    "restore it, or start a new run"
                )
        if state["next"] % self._options.processes:
            raise ConfigError(
                f"{self._options.processes} processes cannot share the {state['next']} samples that were read when the "
                "run was saved; use a number of processes that divides them"
            )
        self.close()
        self._next = state["next"]

    def unreadable(self) -> str | None:
        """Return one line about the images that could not be read so far; None if all could be read."""
        if not self._unreadable:
            return None
        try:
            self._samples.read(min(self._unreadable))
            first = "which can be read now"
        except Unreadable as error:
            first = f"{error}"
        count = f"{len(self._unreadable)} of {len(self._samples)}"
        return f"{count} images cannot be read, and the images after them were used instead; the first is {first}"

    def close(self) -> None:
        """Stop reading ahead, and end the threads and processes; the next batch starts them again."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def _read_ahead(samples: PreparedImages, options: LoaderOptions, start: int) -> Any:
    """Return a grain iterator over the batches of this process, from a position in the sequence onwards."""
    import grain  # imported here, because it takes a second to import

    size = options.batch_size // options.processes
    # grain shuffles epoch e with seed + e. Hash the seed, so that epoch 1 of seed 0 is not epoch 0 of seed 1.
    seed = int(np.random.SeedSequence(options.seed % 2**32).generate_state(1)[0])
    # Repeat before dividing; in the other order, shares of unequal size would drift apart.
    share = grain.MapDataset.source(samples).shuffle(seed).repeat()[options.process :: options.processes]
    # Each thread and each worker makes whole batches, because handing over a small sample costs more than reading it.
    batches = share[start // options.processes :].batch(size, drop_remainder=True)
    workers = 0 if samples.dataset.in_memory else options.workers
    room = READ_AHEAD_BYTES // (size * samples.nbytes)
    threads = 1 if workers else max(1, min(os.cpu_count() or 1, room))
    batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    if workers:
        _parse_no_flags()
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def _parse_no_flags() -> None:
    """Mark the flags of absl, which grain passes to its workers, as parsed, because our programs do not parse any."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
