"""Images for training, batch after batch for ever: one grammar for folders, arrays and TensorFlow Datasets."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.data.arrays import is_held_out, read_arrays, read_digits
from jepa_jax.data.batches import Batches, StreamOptions
from jepa_jax.data.fit import Fitted
from jepa_jax.data.records import ArrayRecords, FolderRecords, Records, Selected
from jepa_jax.data.tfds import PREFIX, TfdsRecords
from jepa_jax.errors import ConfigError
from jepa_jax.images.decoding import Unreadable

CHOICE_SEED = 20251009  # of the samples that `read_some` takes, the same for every run


@dataclass(frozen=True)
class Stream:
    """A data set of images, read one epoch after the other.

    Attributes:
      shape: H, W, C of an image.
      count: samples of the data set, of all processes together.
      classes: how many labels there are, 0 .. classes - 1; None without labels.
      samples: the data set, by number.
      options: how it is read; its batches are no larger than the data set.
    """

    shape: tuple[int, int, int]
    count: int
    classes: int | None
    samples: Fitted
    options: StreamOptions

    def batches(self) -> Batches:
        """A new iterator, from the beginning."""
        return Batches(self.samples, self.options)


def open_stream(spec: str, options: StreamOptions) -> Stream:
    """The data set of a spec.

    Args:
      spec: a folder of images, searched recursively, of which the first level of folders are the labels; FILE.npy,
        FILE.npz; `digits`; `tfds:NAME[/CONFIG][:SPLIT]`.
      options: how to read it.

    Raises:
      ConfigError: options that cannot be, an unknown name, data that cannot be read or are not images, or fewer than
        processes.
    """
    o = options
    for ok, message in (
        (o.batch_size >= 1, f"the batch size is {o.batch_size}; it must be positive"),
        (o.size is None or o.size >= 1, f"the size of images is {o.size}; it must be positive"),
        (o.workers >= 0, f"the number of workers is {o.workers}; it must not be negative"),
        (0 <= o.process < o.processes, f"process {o.process} of {o.processes}; they count from 0"),
        (
            o.batch_size % o.processes == 0,
            f"a batch of {o.batch_size} cannot be divided among {o.processes} processes; take a multiple",
        ),
    ):
        if not ok:
            raise ConfigError(message)
    records = _part(_open_records(spec, o.channels, o.labels), o.holdout, held=False)
    most = len(records) // o.processes * o.processes
    if not most:
        raise ConfigError(f"{spec} has {len(records)} images, fewer than there are processes, {o.processes}")
    o = replace(o, batch_size=min(o.batch_size, most))
    samples = Fitted(records, o.size, o.channels)
    height, width, channels = samples.shape
    return Stream((height, width, channels), len(records), records.classes, samples, o)


def read_some(
    spec: str,
    count: int,
    *,
    size: int | None,
    channels: int = 3,
    labels: bool = False,
    holdout: float = 0.0,
    held: bool = False,
) -> dict[str, np.ndarray]:
    """A fixed random choice of `count` samples of a data set that can be read, or all that there are, for probes.

    Args:
      spec: as for `open_stream`.
      size, channels, labels, holdout: as in StreamOptions.
      held: take them from what `holdout` keeps out of the stream, instead of from the stream.

    Returns:
      A batch, as a stream gives them, in the order of the data set.

    Raises:
      ConfigError: as `open_stream`.
    """
    samples = Fitted(_part(_open_records(spec, channels, labels), holdout, held), size, channels)

    def read(number: int) -> dict[str, Any] | None:
        try:
            return samples.read(number)
        except Unreadable:
            return None

    found: list[dict[str, Any]] = []
    numbers = iter(np.random.default_rng(CHOICE_SEED).permutation(len(samples)).tolist())
    with ThreadPoolExecutor() as pool:
        while missing := list(islice(numbers, count - len(found))):
            found += [sample for sample in pool.map(read, missing) if sample is not None]
    found.sort(key=lambda sample: sample["index"])
    return {name: np.stack([sample[name] for sample in found]) for name in found[0]}


def _part(records: Records, holdout: float, held: bool) -> Records:
    """What is trained on, or what is kept out of it."""
    if not holdout:
        return records
    kept_out = is_held_out(len(records), holdout)
    numbers = np.flatnonzero(kept_out if held else ~kept_out)
    if not len(numbers):
        raise ConfigError(f"{records.name}: a holdout of {holdout} of {len(records)} images leaves none; change it")
    return Selected(records, numbers)


def _open_records(spec: str, channels: int, labels: bool) -> Records:
    path = Path(spec)
    if spec.startswith(PREFIX):
        records: Records = TfdsRecords(spec)
    elif spec == "digits":
        records = ArrayRecords(spec, read_digits())
    elif path.suffix in (".npy", ".npz"):
        records = ArrayRecords(spec, read_arrays(path, keep_bytes=True))
    elif spec and path.is_dir():
        if channels not in (1, 3):
            raise ConfigError(f"images of {spec} in {channels} channels; take 3 for colours or 1 for grey")
        records = FolderRecords(path, channels)
    else:
        raise ConfigError(
            f"unknown images {spec!r}: not a folder that exists, a .npy, a .npz, digits or tfds:NAME[/CONFIG][:SPLIT]"
        )
    if not len(records):
        raise ConfigError(f"{spec} has no images in it")
    if labels and records.classes is None:
        raise ConfigError(
            f"{spec} has no labels; a folder has them in its first level of folders, an .npz as label [N]"
        )
    return records
