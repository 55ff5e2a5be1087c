"""Images of a dataset as an array that decodes rows on access, and reads ahead of them."""

import math
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from jepa_jax.data.dataset import Dataset
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing, Unreadable, fit
from jepa_jax.memory import available

READ_AHEAD_FACTOR = 2  # rows decoded ahead, as a multiple of the requested rows
READ_AHEAD_BYTES = 512 * 2**20  # maximum size of the rows decoded ahead


class ImageDataset(Dataset, Protocol):
    """Dataset whose `x` are images, and which can be recognised in a later call."""

    def fingerprint(self, count: int) -> str:
        """Return a digest that differs if any of the first `count` images differ."""
        ...

    def path(self, number: int) -> Path | None:
        """Return the file of a sample, or None if it has none of its own."""
        ...

    def thumbnail(self, number: int) -> Image.Image:
        """Return the whole picture of a sample.

        Raises:
          Unreadable: If the sample cannot be read.
        """
        ...


class _Some:
    """Some images of a dataset."""

    def __init__(self, dataset: ImageDataset, numbers: np.ndarray) -> None:
        self._dataset, self._numbers = dataset, numbers.tolist()
        self.name, self.classes, self.in_memory = dataset.name, dataset.classes, dataset.in_memory

    def id(self, number: int) -> str:
        return self._dataset.id(self._numbers[number])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._dataset[self._numbers[number]]

    def fingerprint(self, count: int) -> str:
        some = self._numbers[:count]
        return f"{self._dataset.fingerprint(max(some, default=-1) + 1)} {some}"

    def path(self, number: int) -> Path | None:
        return self._dataset.path(self._numbers[number])

    def thumbnail(self, number: int) -> Image.Image:
        return self._dataset.thumbnail(self._numbers[number])


class LazyImages:
    """Preprocessed images of a dataset, for use in place of a float32 array [N, H, W, C].

    `images[i]`, `images[i:j]` and `images[[i, j]]` are arrays; a row that cannot be read is NaN. While the caller works
    on some rows, other threads decode the following ones, so that a caller who reads in order does not wait. An
    instance serves only one caller at a time.

    Attributes:
      dataset: Dataset of the images.
      preprocessing: Preprocessing of each image.
    """

    def __init__(self, dataset: ImageDataset, preprocessing: Preprocessing, limit: int | None = None) -> None:
        """Take the first `limit` images of a dataset, or all of them."""
        self.dataset = dataset
        self.preprocessing = preprocessing
        self._count = len(dataset) if limit is None else min(limit, len(dataset))
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._pending: dict[int, Future[np.ndarray | str]] = {}
        self._known = np.zeros(self._count, bool)  # rows that were read or found unreadable
        self._failures: dict[int, str] = {}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the array, [N, H, W, C]."""
        return self._count, *self.preprocessing.size, self.preprocessing.channels

    @property
    def ndim(self) -> int:
        """Number of dimensions, 4."""
        return 4

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the array, float32."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """Return the number of rows, N."""
        return self._count

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return one row, or several."""
        if isinstance(which, int):
            return self._take([range(len(self))[which]], 0)[0]
        rows = list(range(len(self))[which] if isinstance(which, slice) else which)
        once = sorted(set(rows))
        taken = self._take(
            once, min(READ_AHEAD_FACTOR * len(once), READ_AHEAD_BYTES // (4 * math.prod(self.shape[1:])))
        )
        return taken if once == rows else taken[np.searchsorted(once, rows)]

    def take(self, rows: np.ndarray) -> "LazyImages":
        """Return the images of some rows."""
        return LazyImages(_Some(self.dataset, rows), self.preprocessing)

    def failure(self, row: int) -> str | None:
        """Return a short reason why a row cannot be read, or None. This reads the row if it was not read before."""
        if not self._known[row]:
            self[row]
        return self._failures.get(row)

    def path(self, row: int) -> Path | None:
        """Return the file of a row, or None if it has none of its own."""
        return self.dataset.path(row)

    def fingerprint(self) -> str:
        """Return a digest that differs if the images differ."""
        return self.dataset.fingerprint(len(self))

    def thumbnail(self, row: int, side: int) -> Image.Image | None:
        """Return the whole picture of a row, reduced to sides of at most `side` pixels; None if unreadable."""
        try:
            picture = self.dataset.thumbnail(row)
        except Unreadable:
            return None
        picture.thumbnail((side, side))
        return picture

    def _take(self, rows: list[int], ahead: int) -> np.ndarray:
        """Return rows in ascending order, while threads decode the `ahead` rows after them and no others."""
        last = rows[-1] if rows else -1
        wanted = dict.fromkeys((*rows, *range(last + 1, min(last + 1 + ahead, len(self)))))
        for row in self._pending.keys() - wanted.keys():
            self._pending.pop(row).cancel()
        for row in wanted:
            if row not in self._pending:
                self._pending[row] = self._pool.submit(read_image, self.dataset, row, self.preprocessing)
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        for place, row in zip(out, rows, strict=True):
            # Keep the last row: it is requested again if the views of one image are divided between two batches.
            result = (self._pending[row] if row == last else self._pending.pop(row)).result()
            self._known[row] = True
            if isinstance(result, str):
                self._failures[row] = result
            place[...] = np.nan if isinstance(result, str) else result
        return out


def read_image(dataset: Dataset, row: int, preprocessing: Preprocessing) -> np.ndarray | str:
    """Return the preprocessed image of a row, or the reason why it cannot be read."""
    try:
        return preprocessing.standardised(fit(dataset[row]["x"], preprocessing, preprocessing.channels))
    except (Unreadable, ValueError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory for it"


def in_memory(xs: np.ndarray | LazyImages, purpose: str, mend: str) -> np.ndarray:
    """Return all samples as one array.

    Args:
      xs: Samples [N, ...].
      purpose: What needs all samples at once, for the message.
      mend: What to do if they do not fit, for the message.

    Raises:
      ConfigError: If they would take more than a quarter of the free memory; the rest is for what is computed from
        them.
    """
    if isinstance(xs, np.ndarray):
        return xs
    needed, room = 4 * math.prod(xs.shape), available("cpu")
    if room is not None and needed > room // 4:
        gigabytes = f"{needed / 2**30:.1f} GB of the {room / 2**30:.1f} GB that are free"
        raise ConfigError(f"{purpose} needs all {len(xs)} images in memory, {gigabytes}; {mend}")
    return xs[:]


def readable(xs: np.ndarray) -> np.ndarray:
    """Return which of xs [N, ...] are finite, [N]; images that cannot be read are not."""
    return np.all(np.isfinite(xs), axis=tuple(range(1, xs.ndim)))
