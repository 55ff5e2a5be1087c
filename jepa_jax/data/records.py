"""What a data set is to a stream: images by their number, with labels and whatever else is known of them."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jepa_jax.data.arrays import Samples
from jepa_jax.data.folder import find_images
from jepa_jax.errors import ConfigError
from jepa_jax.images.decoding import Unreadable, decode


class Records(Protocol):
    """Images by their number.

    Attributes:
      name: what messages call the data set.
      classes: how many labels there are, 0 .. classes - 1; None without labels.
      in_memory: nothing has to be read or decoded, so that no other process need help.
    """

    name: str
    classes: int | None
    in_memory: bool

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, number: int) -> dict[str, Any]:
        """`image`, a picture or an array [H, W, C]; `label` and `log_density` where they are known.

        Raises:
          Unreadable: there is no image to be had from it.
        """
        ...


class Selected:
    """Some of the images of a data set."""

    def __init__(self, records: Records, numbers: np.ndarray) -> None:
        """`numbers` says which, and in which order."""
        self.name, self.classes, self.in_memory = records.name, records.classes, records.in_memory
        self._records, self._numbers = records, numbers

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def read(self, number: int) -> dict[str, Any]:
        """As those of the whole.

        Raises:
          Unreadable: there is no image to be had from it.
        """
        return self._records.read(int(self._numbers[number]))


class ArrayRecords:
    """Images in memory."""

    in_memory = True

    def __init__(self, name: str, samples: Samples) -> None:
        """Labels of any kind are numbered in their order; negative ones are none.

        Raises:
          ConfigError: the samples are not images, or are pairs of them.
        """
        if not isinstance(samples.x, np.ndarray) or samples.x.ndim != 4:
            raise ConfigError(
                f"{name}: a sample has shape {list(samples.x.shape[1:])}; a stream is of images, x [N, H, W, C]"
            )
        if samples.pair is not None:
            raise ConfigError(f"{name} has pairs, and a stream is of single images; leave out the array named pair")
        self.name = name
        self.classes = None
        self._columns = {"image": samples.x}
        if samples.label is not None:
            self._columns["label"], self.classes = _numbered(samples.label)
        if samples.log_density is not None:
            self._columns["log_density"] = samples.log_density

    def __len__(self) -> int:
        """Rows."""
        return len(self._columns["image"])

    def read(self, number: int) -> dict[str, Any]:
        """A row."""
        return {name: column[number] for name, column in self._columns.items()}


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels [N] of any kind as 0 .. classes - 1 in their order, and how many classes; negative numbers are none."""
    known = np.unique(labels)
    if np.issubdtype(labels.dtype, np.number):
        known = known[known >= 0]
        return np.where(labels >= 0, np.searchsorted(known, labels), -1), len(known)
    return np.searchsorted(known, labels), len(known)


class FolderRecords:
    """The images of a folder. Its first level of folders are the labels, in the order of their names."""

    in_memory = False

    def __init__(self, folder: Path, channels: int) -> None:
        """Images beside those folders have no label.

        Raises:
          ConfigError: there are no images, or the folder cannot be listed.
        """
        self.name = str(folder)
        self._folder = folder
        self._channels = channels
        self._names = find_images(folder)
        labels = sorted({name.split("/")[0] for name in self._names if "/" in name})
        self._labels = {label: number for number, label in enumerate(labels)}
        self.classes = len(labels) or None

    def __len__(self) -> int:
        """Files."""
        return len(self._names)

    def read(self, number: int) -> dict[str, Any]:
        """A picture and its label.

        Raises:
          Unreadable: with the file's path and the reason.
        """
        name = self._names[number]
        try:
            image = decode(self._folder / name, self._channels)
        except Unreadable as error:
            raise Unreadable(f"{name}: {error}") from None
        return {"image": image, "label": self._labels.get(name.split("/")[0], -1)}
