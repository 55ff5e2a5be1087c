"""Images of any size and colour as a dataset of arrays of one shape, which a training stream reads."""

from typing import Any

import numpy as np

from jepa_jax.data.dataset import Dataset
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing, Unreadable, centre_square, fit


class PreparedImages:
    """Samples of a dataset by their index, all of one shape, in the form in which grain reads them.

    Attributes:
      dataset: Dataset of the images.
      shape: Shape of every image, [H, W, C].
      dtype: Type of every image.
      nbytes: Size of every image in bytes.
    """

    def __init__(
        self, dataset: Dataset, side: int | None, channels: int, preprocessing: Preprocessing | None = None
    ) -> None:
        """Convert the images of a dataset to squares of one size and to one number of channels.

        Args:
          dataset: Dataset of the images.
          side: Side of the square in pixels; None if the images have one size already.
          channels: Number of channels.
          preprocessing: Recipe with another resize and crop than those of `side`, or None.

        Raises:
          ConfigError: If no image can be read.
        """
        self.dataset = dataset
        self._channels = channels
        self._preprocessing = preprocessing or (None if side is None else centre_square(side, channels))
        self.shape: tuple[int, ...] = ()
        first = self[0]["x"]
        self.shape, self.dtype, self.nbytes = first.shape, first.dtype, first.nbytes

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample, or the next readable one if it cannot be read.

        Returns:
          Sample as in `read`, with `skipped`, the number of unreadable samples that were skipped.

        Raises:
          ConfigError: If no sample can be read, or an image has another shape than the first.
        """
        reason: Unreadable | None = None
        for skipped in range(len(self)):
            try:
                return self.read((index + skipped) % len(self)) | {"skipped": np.int32(skipped)}
            except Unreadable as error:
                reason = error
        raise ConfigError(f"{self.dataset.name}: none of {len(self)} images can be read; {reason}")

    def read(self, number: int) -> dict[str, Any]:
        """Return one sample.

        Returns:
          `x` uint8 or float32 [H, W, C]; `label`, -1 for no label; `index`; `log_density` if it is known.

        Raises:
          Unreadable: If the sample cannot be read; the message has its name and the reason.
          ConfigError: If the image has another shape than the first, or colours that cannot be converted.
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
                f"{self.dataset.name}: image {number} has {h} x {w} pixels and another has {height} x {width}; "
                "set `data.size`, to which all are resized"
            )
        sample = {"x": x, "label": np.int32(record.get("label", -1)), "index": np.int64(number)}
        if "log_density" in record:
            sample["log_density"] = np.float32(record["log_density"])
        return sample
