"""Datasets: samples by their number, whatever they are read from."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jepa_jax.images import Unreadable

if TYPE_CHECKING:
    from jepa_jax.data.lazy_images import LazyImages

__all__ = ["Dataset", "Samples", "Subset", "Unreadable", "is_held_out"]


class Dataset(Protocol):
    """Samples by their number.

    Attributes:
      name: how messages call it.
      classes: number of labels, 0 .. classes - 1; None without labels.
      in_memory: whether nothing has to be read or decoded, so that other processes would not help.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - as above

    @property
    def classes(self) -> int | None: ...  # noqa: D102 - as above

    @property
    def in_memory(self) -> bool: ...  # noqa: D102 - as above

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def id(self, number: int) -> str:
        """Name of a sample in messages and tables: its file, or its number."""
        ...

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample.

        Returns:
          `x`, an array or a picture; and where they are known `label` (-1 for none), `log_density` and `pair`.

        Raises:
          Unreadable: the sample is damaged.
        """
        ...


class Subset:
    """Some samples of a dataset, in a given order."""

    def __init__(self, dataset: Dataset, numbers: np.ndarray) -> None:
        """Samples `numbers` of `dataset`."""
        self.name, self.classes, self.in_memory = dataset.name, dataset.classes, dataset.in_memory
        self._dataset, self._numbers = dataset, numbers

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._numbers)

    def id(self, number: int) -> str:
        """Name of a sample in the whole dataset."""
        return self._dataset.id(int(self._numbers[number]))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample, as the whole dataset returns it."""
        return self._dataset[int(self._numbers[number])]


@dataclass(frozen=True)
class Samples:
    """Samples in columns: what is scored, and what fits into memory. A `Dataset`.

    Attributes:
      x: [N, ...], float32; or the images of a dataset, which are decoded when they are asked for. uint8 where
        `read_arrays` was told to keep it.
      log_density: [N] exact log-density, or None.
      label: [N] labels of any kind, or None.
      pair: [N, ...] the positive partner of each row, or None.
      ids: [N] content of the `id` column, or None for row numbers.
      states: [N, ...] what the samples of a world were rendered from, or None.
      tangent: [N, D, d], orthonormal bases of the manifold's tangent spaces where a world knows them, or None.
      name: how messages call them.
    """

    x: "np.ndarray | LazyImages"
    log_density: np.ndarray | None = None
    label: np.ndarray | None = None
    pair: np.ndarray | None = None
    ids: np.ndarray | None = None
    states: np.ndarray | None = None
    tangent: np.ndarray | None = None
    name: str = ""

    in_memory = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.x)

    def id(self, number: int) -> str:
        """Content of the `id` column."""
        return str(number if self.ids is None else self.ids[number])

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample, its label as a number."""
        columns = {"x": self.x, "label": self.numbered_label, "log_density": self.log_density, "pair": self.pair}
        return {name: column[number] for name, column in columns.items() if column is not None}

    @property
    def classes(self) -> int | None:
        """Number of labels; None without labels."""
        if self.label is None:
            return None
        known = np.unique(self.label)
        return int((known >= 0).sum()) if np.issubdtype(known.dtype, np.number) else len(known)

    @cached_property
    def numbered_label(self) -> np.ndarray | None:
        """Labels [N] as 0 .. classes - 1 in their order; negative numbers become -1, no label."""
        if self.label is None:
            return None
        known = np.unique(self.label)
        if np.issubdtype(known.dtype, np.number):
            known = known[known >= 0]
            return np.where(self.label >= 0, np.searchsorted(known, self.label), -1)
        return np.searchsorted(known, self.label)

    def first(self, limit: int) -> "Samples":
        """The first `limit` samples."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: a[:limit] for name, a in columns.items() if isinstance(a, np.ndarray)})


def is_held_out(count: int, fraction: float) -> np.ndarray:
    """Which of `count` samples a run with this `data.holdout` keeps out of training: [count].

    A fixed random choice for each sample by itself, so that it is the same when only the first ones are read.
    """
    return np.random.default_rng(0).random(count) < fraction
