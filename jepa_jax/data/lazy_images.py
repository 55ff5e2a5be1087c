"""Images of a dataset as an array that decodes what is asked for, and ahead of it."""

import math
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from PIL import Image

from jepa_jax.data.dataset import Dataset
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing, Unreadable, fit
from jepa_jax.memory import available

AHEAD = 2  # times the rows that are asked for are decoded beyond them
AHEAD_BYTES = 512 * 2**20  # but no more than this


class ImageDataset(Dataset, Protocol):
    """A dataset whose `x` are images, and that can be recognised in a later call."""

    def fingerprint(self, count: int) -> str:
        """Digest that differs where the first `count` images do."""
        ...

    def thumbnail(self, number: int) -> Image.Image:
        """The whole picture of a sample. Raises Unreadable."""
        ...


class LazyImages:
    """Images of a dataset, preprocessed, where an array [N, H, W, C] of float32 could stand.

    `images[i]`, `images[i:j]` and `images[[i, j]]` are arrays; a row that cannot be read is NaN. While the caller works
    on some rows, other threads decode those that follow, so that who reads in order does not wait. For one caller.

    Attributes:
      dataset: where they are from.
      preprocessing: what they go through.
    """

    def __init__(self, dataset: ImageDataset, preprocessing: Preprocessing, limit: int | None = None) -> None:
        """The first `limit` images of a dataset, or all."""
        self.dataset = dataset
        self.preprocessing = preprocessing
        self._count = len(dataset) if limit is None else min(limit, len(dataset))
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._pending: dict[int, Future[np.ndarray | str]] = {}
        self._known = np.zeros(self._count, bool)  # whether this row was read, or cannot be
        self._failures: dict[int, str] = {}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, W, C]."""
        return self._count, *self.preprocessing.size, self.preprocessing.channels

    @property
    def ndim(self) -> int:
        """4."""
        return 4

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """N."""
        return self._count

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        """One row, or several."""
        if isinstance(which, int):
            return self._take([range(len(self))[which]], 0)[0]
        rows = list(range(len(self))[which] if isinstance(which, slice) else which)
        once = sorted(set(rows))
        taken = self._take(once, min(AHEAD * len(once), AHEAD_BYTES // (4 * math.prod(self.shape[1:]))))
        return taken if once == rows else taken[np.searchsorted(once, rows)]

    def failure(self, row: int) -> str | None:
        """Why a row cannot be read, in a few words; None for one that can. Reads it, if nobody has."""
        if not self._known[row]:
            self[row]
        return self._failures.get(row)

    def fingerprint(self) -> str:
        """Digest that differs where the images do."""
        return self.dataset.fingerprint(len(self))

    def thumbnail(self, row: int, side: int) -> Image.Image | None:
        """The whole picture of a row in proportion, its longer side at most `side` pixels; None if unreadable."""
        try:
            picture = self.dataset.thumbnail(row)
        except Unreadable:
            return None
        picture.thumbnail((side, side))
        return picture

    def _take(self, rows: list[int], ahead: int) -> np.ndarray:
        """Rows in ascending order; `ahead` rows after them are decoded meanwhile, and no others."""
        last = rows[-1] if rows else -1
        wanted = dict.fromkeys((*rows, *range(last + 1, min(last + 1 + ahead, len(self)))))
        for row in self._pending.keys() - wanted.keys():
            self._pending.pop(row).cancel()
        for row in wanted:
            if row not in self._pending:
                self._pending[row] = self._pool.submit(read_image, self.dataset, row, self.preprocessing)
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        for place, row in zip(out, rows, strict=True):
            # The last row is kept: it may be asked for again, where the views of one image lie in two batches.
            result = (self._pending[row] if row == last else self._pending.pop(row)).result()
            self._known[row] = True
            if isinstance(result, str):
                self._failures[row] = result
            place[...] = np.nan if isinstance(result, str) else result
        return out


def read_image(dataset: Dataset, row: int, preprocessing: Preprocessing) -> np.ndarray | str:
    """An image of a dataset as the encoder takes it, or why there is none."""
    try:
        return preprocessing.standardised(fit(dataset[row]["x"], preprocessing, preprocessing.channels))
    except (Unreadable, ValueError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory for it"


def in_memory(xs: np.ndarray | LazyImages, purpose: str, mend: str) -> np.ndarray:
    """All samples as one array.

    Args:
      purpose: what needs them at once, in a few words.
      mend: what to do where they do not fit.

    Raises:
      ConfigError: they would take more than a quarter of the free memory; the rest is for what is made of them.
    """
    if isinstance(xs, np.ndarray):
        return xs
    needed, room = 4 * math.prod(xs.shape), available("cpu")
    if room is not None and needed > room // 4:
        gigabytes = f"{needed / 2**30:.1f} GB of {room / 2**30:.1f} GB that are free"
        raise ConfigError(f"{purpose} needs all {len(xs)} images in memory, {gigabytes}; {mend}")
    return xs[:]


def readable(xs: np.ndarray) -> np.ndarray:
    """Which of xs [N, ...] are numbers, and not images that cannot be read: [N]."""
    return np.all(np.isfinite(xs), axis=tuple(range(1, xs.ndim)))
