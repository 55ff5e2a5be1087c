"""Batches of a data set, one epoch after the other: shuffled, divided among processes, read ahead, to be resumed."""

import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jepa_jax.data.prepared import PreparedImages
from jepa_jax.errors import ConfigError
from jepa_jax.images import Unreadable

AHEAD_BYTES = 2**30  # no more is read ahead by threads, unless it is a single batch


@dataclass(frozen=True)
class LoaderOptions:
    """How a data set is read.

    Attributes:
      batch_size: samples of a batch, of all processes together.
      seed: of the shuffles.
      size: side in pixels to which each image is brought: the shorter side resized to it, then the centre square.
        None: the images have one size already.
      workers: processes that read and decode; 0 for threads of this one. Arrays in memory need none, and have none.
      process, processes: which of how many take their share of every batch.
      channels: 3 for colours, 1 for grey; or as many as the images have.
      labels: whether a data set without labels is an error.
      holdout: the fraction of samples, a fixed random choice, that is kept out.
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


class Loader:
    """An iterator without end.

    All processes together walk one sequence of samples, a permutation of the data set in each epoch, and take turns:
    a batch holds the same samples however many processes share it. It goes on over the end of an epoch.
    """

    def __init__(self, samples: PreparedImages, options: LoaderOptions) -> None:
        """From the beginning."""
        self._samples, self._options = samples, options
        self._next = 0  # place in the sequence of all processes; what was only read ahead does not count
        self._iterator: Any = None
        self._unreadable: set[int] = set()

    @property
    def spec(self) -> dict[str, Any]:
        """Shapes and types of what a step reads of a batch of this process: `x` and `index`."""
        size = self._options.batch_size // self._options.processes
        dtype = self._samples.dtype
        return {
            "x": jax.ShapeDtypeStruct((size, *self._samples.shape), dtype),
            "index": jax.ShapeDtypeStruct((size,), np.uint32),  # without float64, JAX has no 64 bits
        }

    def __iter__(self) -> "Loader":
        """Itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch, of b = batch_size // processes samples.

        Returns:
          `x` uint8 or float32 [b, H, W, C], `label` int32 [b] (-1 without), `index` int64 [b], the samples' numbers
          in the data set; `log_density` float32 [b] where it is known.

        Raises:
          ConfigError: no image can be read, or one is of another size.
        """
        if self._iterator is None:
            self._iterator = _read_ahead(self._samples, self._options, self._next)
        batch = next(self._iterator)
        self._next += self._options.batch_size
        skipped = batch.pop("skipped")
        for row in np.flatnonzero(skipped):
            before = batch["index"][row] - np.arange(1, skipped[row] + 1)
            self._unreadable.update((before % len(self._samples)).tolist())
        return batch

    def get_state(self) -> dict[str, int]:
        """The place in the sequence, for JSON; the same for any number of workers and processes."""
        return {"next": self._next, "seed": self._options.seed, "count": len(self._samples)}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on with exactly the batch that would have come after `get_state`.

        Raises:
          ConfigError: the state is of other data or of another seed, which shuffle differently.
        """
        here = self.get_state()
        for name, what in (("seed", "the seed"), ("count", f"the number of images in {self._samples.dataset.name}")):
            if state[name] != here[name]:
                raise ConfigError(
                    f"{what} was {state[name]} when the run was saved and is {here[name]} now; "
                    "put it back, or start a new run"
                )
        if state["next"] % self._options.processes:
            raise ConfigError(
                f"{self._options.processes} processes cannot share the {state['next']} samples the run was saved after"
            )
        self.close()
        self._next = state["next"]

    def unreadable(self) -> str | None:
        """How many images could not be read so far, in one line; None where all could."""
        if not self._unreadable:
            return None
        try:
            self._samples.read(min(self._unreadable))
            first = "which can be read now"
        except Unreadable as error:
            first = f"{error}"
        count = f"{len(self._unreadable)} of {len(self._samples)}"
        return f"{count} images cannot be read, and the next ones stood in for them; the first is {first}"

    def close(self) -> None:
        """Stop reading ahead; threads and processes end. The next batch starts them again."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def _read_ahead(samples: PreparedImages, options: LoaderOptions, start: int) -> Any:
    """A grain iterator over the batches of this process from a place in the sequence on."""
    import grain  # here: it takes a second to import

    size = options.batch_size // options.processes
    # grain shuffles epoch e by seed + e: spread the seeds, or epoch 1 of seed 0 would be epoch 0 of seed 1.
    seed = int(np.random.SeedSequence(options.seed % 2**32).generate_state(1)[0])
    # Repeated before it is divided: the other way round shares of unequal size would drift apart.
    share = grain.MapDataset.source(samples).shuffle(seed).repeat()[options.process :: options.processes]
    # Each thread, and each worker, makes whole batches: handing over single samples costs more than making small ones.
    batches = share[start // options.processes :].batch(size, drop_remainder=True)
    workers = 0 if samples.dataset.in_memory else options.workers
    room = AHEAD_BYTES // (size * samples.nbytes)
    threads = 1 if workers else max(1, min(os.cpu_count() or 1, room))
    batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    if workers:
        _parse_no_flags()
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(batches)


def _parse_no_flags() -> None:
    """The flags of absl, which grain hands to its workers, at their defaults: our programs do not parse any."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
