"""Images of all sizes and colours as a dataset of arrays of one shape: what a training stream reads."""

from typing import Any

import numpy as np

from jepa_jax.data.dataset import Dataset
from jepa_jax.errors import ConfigError
from jepa_jax.images import Unreadable, centre_square, fit


class PreparedImages:
    """Samples of a dataset by their number, all of one shape, as grain reads them.

    Attributes:
      dataset: where they are from.
      shape, dtype, nbytes: of every image: H, W, C; its type; its bytes.
    """

    def __init__(self, dataset: Dataset, side: int | None, channels: int) -> None:
        """Bring the images of a dataset to a square of this side (None: they have one size) and this many channels.

        Raises:
          ConfigError: none of them can be read.
        """
        self.dataset = dataset
        self._channels = channels
        self._preprocessing = None if side is None else centre_square(side, channels)
        self.shape: tuple[int, ...] = ()
        first = self[0]["x"]
        self.shape, self.dtype, self.nbytes = first.shape, first.dtype, first.nbytes

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample; in the place of one that cannot be read, the next that can.

        Returns:
          As `read`, and `skipped`, how many were passed over.

        Raises:
          ConfigError: none can be read, or an image is of another shape than the first.
        """
        reason: Unreadable | None = None
        for skipped in range(len(self)):
            try:
                return self.read((index + skipped) % len(self)) | {"skipped": np.int32(skipped)}
            except Unreadable as error:
                reason = error
        raise ConfigError(f"{self.dataset.name}: none of {len(self)} images can be read; {reason}")

    def read(self, number: int) -> dict[str, Any]:
        """One sample: `x` uint8 or float32 [H, W, C], `label` (-1 without), `index`; `log_density` where it is known.

        Raises:
          Unreadable: it cannot be read; with its name and the reason.
          ConfigError: it is of another shape than the first, or of colours that cannot be converted.
        """
        try:
            record = self.dataset[number]
            x = fit(record["x"], self._preprocessing, self._channels)
        except Unreadable as error:
            raise Unreadable(f"{self.dataset.id(number)}: {error}") from None
        except ValueError as error:
            raise ConfigError(f"{self.dataset.name}: image {number} has {error}") from None
        if self.shape and x.shape != self.shape:
            (h, w, _), (height, width, _) = x.shape, self.shape
            raise ConfigError(
                f"{self.dataset.name}: image {number} is of {h} x {w} pixels and another of {height} x {width}; "
                "give a size, to which all are brought"
            )
        sample = {"x": x, "label": np.int32(record.get("label", -1)), "index": np.int64(number)}
        if "log_density" in record:
            sample["log_density"] = np.float32(record["log_density"])
        return sample
