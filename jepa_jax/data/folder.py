"""A folder of images as a sequence that decodes what is asked for, and ahead of it."""

import hashlib
import math
import os
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images.decoding import SUFFIXES, Unreadable, decode
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.memory import available

AHEAD = 2  # so many times the rows that are asked for are decoded beyond them
AHEAD_BYTES = 512 * 2**20  # but no more than this


class Images:
    """The images of a folder, preprocessed, where an array [N, H, W, C] of float32 could stand.

    `images[i]`, `images[i:j]` and `images[[i, j]]` are arrays; a row that cannot be read is NaN. While the caller works
    on some rows, other threads decode those that follow, so that who reads in order does not wait. For one caller.

    Attributes:
      names: the files' paths relative to the folder, with slashes, sorted.
      preprocessing: the recipe.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing, limit: int | None = None) -> None:
        """The first `limit` images of a folder, or all.

        Raises:
          ConfigError: there are none, or the folder cannot be listed.
        """
        self.preprocessing = preprocessing
        self.names = find_images(folder)[:limit]
        self._folder = folder
        self._pool = ThreadPoolExecutor(os.cpu_count(), "decode")
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._pending: dict[int, Future[np.ndarray | str]] = {}
        self._known = np.zeros(len(self.names), bool)  # whether this row was read, or cannot be
        self._failures: dict[int, str] = {}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, W, C]."""
        return len(self.names), *self.preprocessing.size, self.preprocessing.channels

    @property
    def ndim(self) -> int:
        """4."""
        return 4

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of the rows."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """N."""
        return len(self.names)

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

    def thumbnail(self, row: int, side: int) -> Image.Image | None:
        """The whole picture of a row, its sides in proportion, the longer of at most so many pixels; or None."""
        try:
            picture = decode(self._folder / self.names[row], self.preprocessing.channels)
        except Unreadable:
            return None
        picture.thumbnail((side, side))
        return picture

    def fingerprint(self) -> str:
        """A digest of the files' names, sizes and times: another where a file was changed, added or removed."""
        digest = hashlib.sha256()
        for name in self.names:
            try:
                status = (self._folder / name).stat()
                facts = status.st_size, status.st_mtime_ns
            except OSError:
                facts = ()
            digest.update(f"{name!r} {facts}\n".encode())
        return digest.hexdigest()

    def _take(self, rows: list[int], ahead: int) -> np.ndarray:
        """Rows in ascending order; so many after them are decoded meanwhile, and no others."""
        last = rows[-1] if rows else -1
        wanted = dict.fromkeys((*rows, *range(last + 1, min(last + 1 + ahead, len(self)))))
        for row in self._pending.keys() - wanted.keys():
            self._pending.pop(row).cancel()
        for row in wanted:
            if row not in self._pending:
                path = self._folder / self.names[row]
                self._pending[row] = self._pool.submit(_read, path, self.preprocessing)
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        for place, row in zip(out, rows, strict=True):
            # The last row is kept: it may be asked for again, where the views of one image lie in two batches.
            result = (self._pending[row] if row == last else self._pending.pop(row)).result()
            self._known[row] = True
            if isinstance(result, str):
                self._failures[row] = result
            place[...] = np.nan if isinstance(result, str) else result
        return out


def find_images(folder: Path) -> list[str]:
    """Paths of all images in a folder and those below it, relative to it, with slashes, sorted.

    Hidden files and folders do not count. A folder that several links lead to counts once.

    Raises:
      ConfigError: there are none, or a folder cannot be listed.
    """
    found, seen, below = [], set(), deque([""])
    while below:
        inside = below.popleft()
        try:
            status = os.stat(folder / inside)
            with os.scandir(folder / inside) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            raise ConfigError(f"{folder / inside} cannot be listed: {error.strerror}") from None
        if (status.st_dev, status.st_ino) in seen:  # by a link, perhaps in a circle
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            if os.path.isdir(entry):
                # Links last, so that a folder goes by its own name where it has one.
                (below.append if entry.is_symlink() else below.appendleft)(f"{inside}{entry.name}/")
            elif entry.name.lower().endswith(SUFFIXES):
                found.append(f"{inside}{entry.name}")
    if not found:
        raise ConfigError(f"{folder} has no images in it; they end in {', '.join(SUFFIXES)}")
    return sorted(found)


def in_memory(xs: np.ndarray | Images, purpose: str, mend: str) -> np.ndarray:
    """All samples as one array.

    Args:
      purpose: what needs them at once, in a few words.
      mend: what to do where they do not fit.

    Raises:
      ConfigError: they would take more than a quarter of the free memory; the rest is for what is made of them.
    """
    if isinstance(xs, np.ndarray):
        return xs
    needed, room = 4 * math.prod(xs.shape), available()
    if room is not None and needed > room // 4:
        gigabytes = f"{needed / 2**30:.1f} GB of {room / 2**30:.1f} GB that are free"
        raise ConfigError(f"{purpose} needs all {len(xs)} images in memory, {gigabytes}; {mend}")
    return xs[:]


def readable(xs: np.ndarray) -> np.ndarray:
    """Which of xs [N, ...] are numbers, and not images that cannot be read: [N]."""
    return np.all(np.isfinite(xs), axis=tuple(range(1, xs.ndim)))


def _read(path: Path, preprocessing: Preprocessing) -> np.ndarray | str:
    """A row, or why there is none."""
    try:
        return preprocessing(decode(path, preprocessing.channels))
    except (Unreadable, ValueError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory for it"
