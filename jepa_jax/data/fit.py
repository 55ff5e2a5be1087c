"""Images of all sizes and colours to one shape, on the host."""

from typing import Any

import numpy as np
from PIL import Image

from jepa_jax.data.records import Records
from jepa_jax.errors import ConfigError
from jepa_jax.images import Unreadable, centre_square, recoloured


class Fitted:
    """The samples of a data set by their number, all of one shape, as grain reads them.

    Attributes:
      records: the data set.
      shape, nbytes: H, W, C and bytes of every image.
    """

    def __init__(self, records: Records, side: int | None, channels: int) -> None:
        """What `fit` makes of a data set's images.

        Raises:
          ConfigError: none of them can be read.
        """
        self.records = records
        self._side, self._channels = side, channels
        self.shape: tuple[int, ...] = ()
        first = self[0]["image"]
        self.shape, self.dtype, self.nbytes = first.shape, first.dtype, first.nbytes

    def __len__(self) -> int:
        """How many there are."""
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A sample; in the place of one that cannot be read, the next that can.

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
        raise ConfigError(f"{self.records.name}: none of {len(self)} images can be read; {reason}")

    def read(self, number: int) -> dict[str, Any]:
        """`image` uint8 or float32 [H, W, C], `label` (-1 without), `index`; `log_density` where it is known.

        Raises:
          Unreadable: it cannot be read.
          ConfigError: it is of another shape than the first, or of colours that cannot be brought to `channels`.
        """
        record = self.records.read(number)
        try:
            image = fit(record["image"], self._side, self._channels)
        except ValueError as error:
            raise ConfigError(f"{self.records.name}: image {number} has {error}") from None
        if self.shape and image.shape != self.shape:
            (h, w, _), (height, width, _) = image.shape, self.shape
            raise ConfigError(
                f"{self.records.name}: image {number} is of {h} x {w} pixels and another of {height} x {width}; "
                "give a size, to which all are brought"
            )
        sample = {"image": image, "label": np.int32(record.get("label", -1)), "index": np.int64(number)}
        if "log_density" in record:
            sample["log_density"] = np.float32(record["log_density"])
        return sample


def fit(image: np.ndarray | Image.Image, side: int | None, channels: int) -> np.ndarray:
    """An image in so many channels, brought to a square by `centre_square`.

    Args:
      image: a picture, or an array [H, W, C] of bytes or floats.
      side: in pixels; None leaves the size.

    Returns:
      [H, W, C], uint8 or float32.

    Raises:
      ValueError: numbers of another kind, or channels that cannot be brought to so many.
    """
    x = recoloured(image, channels)
    if side is None:
        return x
    square = centre_square(side, channels if channels in (1, 3) else 1)
    if square.channels != channels:  # neither grey nor colours: plane by plane
        return np.dstack([fit(x[:, :, c], side, 1) for c in range(channels)])
    return square.fit(x) if x.dtype == np.uint8 else square.fit_values(x)
