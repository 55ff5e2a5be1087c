"""Datasets: samples by their index, independent of the medium from which they are read."""

from typing import Any, Protocol

import numpy as np

from jepa_jax.images import Unreadable

__all__ = ["Dataset", "Subset", "Unreadable", "is_held_out"]


class Dataset(Protocol):
    """Samples by their index.

    Attributes:
      name: Name in messages.
      classes: Number of labels, which are 0 .. classes - 1; None without labels.
      in_memory: Whether the samples need no reading or decoding, so that worker processes would not help.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - as above

    @property
    def classes(self) -> int | None: ...  # noqa: D102 - as above

    @property
    def in_memory(self) -> bool: ...  # noqa: D102 - as above

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def id(self, number: int) -> str:
        """Return the name of a sample in messages and tables: its file or its index."""
        ...

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return one sample.

        Returns:
          `x`, an array or a picture; and if they are known `label` (-1 for no label), `log_density` and `pair`.

        Raises:
          Unreadable: If the sample is damaged.
        """
        ...


class Subset:
    """Selected samples of a dataset, in a given order."""

    def __init__(self, dataset: Dataset, numbers: np.ndarray) -> None:
        """Select the samples with indices `numbers` of `dataset`."""
        self.name, self.classes, self.in_memory = dataset.name, dataset.classes, dataset.in_memory
        self._dataset, self._numbers = dataset, numbers

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._numbers)

    def id(self, number: int) -> str:
        """Return the name of a sample in the whole dataset."""
        return self._dataset.id(int(self._numbers[number]))

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return one sample, in the form in which the whole dataset returns it."""
        return self._dataset[int(self._numbers[number])]


def is_held_out(count: int, fraction: float) -> np.ndarray:
    """Return which of `count` samples a run with this `data.holdout` keeps out of training, [count].

    The choice is random but fixed, and independent for each sample, so that it is the same if only the first samples
    are read.
    """
    return np.random.default_rng(0).random(count) < fraction
