"""Images of all sizes and colours to one shape, on the host."""

from typing import Any

import numpy as np
from PIL import Image

from jepa_jax.data.records import Records
from jepa_jax.decoding import Unreadable, convert
from jepa_jax.errors import ConfigError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, as Pillow has it for bytes


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
    """An image in so many channels, its shorter side resized to `side` and the square in its centre cut out.

    Args:
      image: a picture, or an array [H, W, C] of bytes or floats.
      side: in pixels; None leaves the size.

    Returns:
      [H, W, C], uint8 or float32.

    Raises:
      ValueError: numbers of another kind, or channels that cannot be brought to so many.
    """
    x = _recoloured(np.atleast_3d(np.asarray(image)), channels)
    if side is None or x.shape[:2] == (side, side):
        return x
    (height, width), short = x.shape[:2], min(x.shape[:2])
    left, top = (width - short) / 2, (height - short) / 2
    # The square first and then the size, in one go: the same as the other way round, but for the rounding of a pixel.
    box = (left, top, left + short, top + short)
    planes = [x] if channels == 3 and x.dtype == np.uint8 else [x[:, :, c] for c in range(channels)]
    squares = [Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC, box) for plane in planes]
    return np.dstack([np.asarray(square) for square in squares])


def _recoloured(x: np.ndarray, channels: int) -> np.ndarray:
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"numbers of type {x.dtype}; a stream is of uint8 or floats")
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
    match x.shape[2], channels:
        case have, want if have == want:
            return x
        case ((1 | 3 | 4), (1 | 3)) if x.dtype == np.uint8:
            return np.atleast_3d(np.asarray(convert(Image.fromarray(x.squeeze(2) if x.shape[2] == 1 else x), channels)))
        case 1, 3:
            return np.repeat(x, 3, axis=2)
        case 3, 1:
            return x @ LUMA[:, None]
    raise ValueError(f"{x.shape[2]} channels, which cannot be brought to {channels}")
