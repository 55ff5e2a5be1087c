"""Preprocessing from a picture to the array that an encoder takes; a recipe is data, to be saved beside the weights."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images.decoding import Unreadable, convert

FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of Pillow's numbers
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # weights of red, green and blue, as in Pillow
MAX_PIXELS = 2**26  # limit for a resized picture; no recipe intends so large a size, but long thin pictures reach it


@dataclass(frozen=True)
class Preprocessing:
    """Recipe: upright, RGB or grey, resized, cropped around the centre, scaled to [0, 1], standardised.

    Attributes:
      size: Size of the result, [H, W].
      resize: Shorter side in pixels, with the longer side in proportion; or [H, W], to which the picture is squashed,
        unless `cover` is set.
      resample: Name of the Pillow filter, which antialiases if it reduces the size.
      mean: Value of each channel that is subtracted; 0 together with a `std` of 1 leaves the colours in [0, 1].
      std: Value of each channel by which the difference is divided.
      channels: 3 for RGB, 1 for grey.
      crop: How an odd number of surplus pixels is divided: `round` is the rule of torchvision and `floor` that of
        transformers. For a quarter of all sizes they differ by a pixel. `box` resizes only the middle of the picture,
        centred to a fraction of a pixel.
      source: Origin of the recipe, in words.
      cover: Whether the picture is resized in proportion so that it just covers `resize` [H, W].

    Raises:
      ConfigError: If no picture can be converted with these values.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    channels: int = 3
    crop: Literal["round", "floor", "box"] = "round"
    source: str = ""
    cover: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for name, ok in (
            ("size", _are_sides(self.size)),
            ("resize", _are_sides(self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize))),
            ("resample", self.resample in FILTERS),
            ("channels", self.channels in (1, 3)),
            ("mean", are_numbers(self.mean, self.channels)),
            ("std", are_numbers(self.std, self.channels) and min(self.std) > 0),
            ("crop", self.crop in ("round", "floor") or (self.crop == "box" and self._fits_box())),
            ("source", isinstance(self.source, str)),
            ("cover", isinstance(self.cover, bool) and (isinstance(self.resize, tuple) or not self.cover)),
        ):
            if not ok:
                value = getattr(self, name)
                raise ConfigError(f"a preprocessing recipe with channels {self.channels} cannot have {name} {value!r}")

    def __call__(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        """Convert a picture to the array that an encoder takes.

        Args:
          picture: Picture of any size; an array is uint8, [H, W] or [H, W, C] with 1 or 3 channels.

        Returns:
          float32 [H, W, C].

        Raises:
          ValueError: If the picture is of another kind, or too long and thin to be resized.
        """
        return self.standardised(self.fit(picture))

    def fit(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        """Resize and crop a picture.

        Training streams carry these pixels, and divide them by 255 on the device.

        Args:
          picture: Picture as in a call.

        Returns:
          uint8 [H, W, C].

        Raises:
          ValueError: As in a call.
        """
        return self._placed(convert(_as_picture(picture), self.channels)).reshape(*self.size, self.channels)

    def fit_values(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop an image of floating-point numbers in the same way.

        Args:
          image: Float [H, W, C], with the channels of this recipe.

        Returns:
          float32 [H, W, C].
        """
        channels = [Image.fromarray(image[:, :, c].astype(np.float32)) for c in range(self.channels)]
        return np.dstack([self._placed(channel) for channel in channels])

    def standardised(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels in the form in which the encoder takes them.

        Args:
          pixels: Result of `fit` (uint8) or `fit_values` (float), [H, W, C].

        Returns:
          float32 [H, W, C].
        """
        x = pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels
        if not self.standardises:
            return x
        return (x - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    @property
    def standardises(self) -> bool:
        """Whether the result is anything but colours in [0, 1]."""
        return any(self.mean) or any(s != 1 for s in self.std)

    def as_image(self, x: np.ndarray) -> Image.Image:
        """Convert a result [H, W, C] back to a picture for display, without the statistics and clipped."""
        colours = np.clip(x * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32), 0, 1)
        pixels = np.round(255 * colours).astype(np.uint8)
        return Image.fromarray(pixels if self.channels == 3 else pixels[:, :, 0])

    def at_size(self, side: int) -> "Preprocessing":
        """Return the same recipe for a square of `side` pixels; the part that is cropped stays in proportion."""
        if isinstance(self.resize, int):
            return replace(self, size=(side, side), resize=round(self.resize * side / min(self.size)))
        height, width = (round(r * side / s) for r, s in zip(self.resize, self.size, strict=True))
        return replace(self, size=(side, side), resize=(height, width))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(tree: Any) -> "Preprocessing":
        """Return the recipe from the result of `to_dict`, which may have been converted to JSON and back.

        Raises:
          ConfigError: If the dict is damaged.
        """
        if not isinstance(tree, Mapping):
            raise ConfigError(f"a preprocessing recipe is an object, not {tree!r}")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(Preprocessing)}
        wrong = [*(tree.keys() - fields.keys()), *(name for name, must in fields.items() if must and name not in tree)]
        if wrong:
            raise ConfigError(
                f"a preprocessing recipe has the fields {', '.join(fields)}; check {', '.join(map(str, wrong))}"
            )
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in tree.items()}
        return Preprocessing(**values)

    def _fits_box(self) -> bool:
        """Whether the middle of any resized picture has enough pixels for the result."""
        return isinstance(self.resize, int) and max(self.size) <= self.resize

    def _placed(self, picture: Image.Image) -> np.ndarray:
        """Resize a picture of any mode and crop it around the centre; it is black where the picture is too small."""
        height, width = self.size
        if self.crop == "box":
            assert isinstance(self.resize, int)
            (w, h), short = picture.size, min(picture.size)
            across, down = short * (width / self.resize), short * (height / self.resize)
            left, top = (w - across) / 2, (h - down) / 2
            box = (left, top, left + across, top + down)
            return np.asarray(picture.resize((width, height), FILTERS.index(self.resample), box))
        picture = picture.resize(self._resized(*picture.size), FILTERS.index(self.resample))
        left, top = (_margin(*sides, self.crop) for sides in zip(picture.size, (width, height), strict=True))
        return np.asarray(picture.crop((left, top, left + width, top + height)))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and the height after resizing."""
        if isinstance(self.resize, int):
            shorter = min(width, height)
            width, height = (int(self.resize * side / shorter) for side in (width, height))
        elif self.cover:
            ratio = min(height / self.resize[0], width / self.resize[1])
            width, height = round(width / ratio), round(height / ratio)
        else:
            height, width = self.resize
        if width * height > MAX_PIXELS:
            raise Unreadable("the picture is too long and thin")
        return width, height


def squashed(shape: tuple[int, ...]) -> Preprocessing:
    """Return the preprocessing that squashes a picture to samples of this shape, with colours in [0, 1].

    Raises:
      ConfigError: If samples of this shape are not images.
    """
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ConfigError(f"this encoder takes samples of shape {list(shape)}, not images")
    height, width, channels = shape
    return _unstandardised((height, width), (height, width), "bilinear", channels, "trained here")


def centre_square(side: int, channels: int) -> Preprocessing:
    """Return the preprocessing that resizes the shorter side and crops the central square, with colours in [0, 1]."""
    return replace(_unstandardised((side, side), side, "bicubic", channels, "as in training"), crop="box")


def _unstandardised(size: tuple[int, int], resize: Any, resample: Any, channels: int, source: str) -> Preprocessing:
    zero, one = (0.0,) * channels, (1.0,) * channels
    return Preprocessing(size, resize, resample, zero, one, channels, source=source)


def fit(image: np.ndarray | Image.Image, preprocessing: Preprocessing | None, channels: int) -> np.ndarray:
    """Resize and crop an image of a dataset, before it is standardised.

    Args:
      image: Picture, or an array [H, W] or [H, W, C] of uint8 or floats.
      preprocessing: Recipe for the resize and the crop; None leaves the size unchanged.
      channels: C of the result; it must be that of `preprocessing`, if there is one.

    Returns:
      [H, W, C], uint8 or float32.

    Raises:
      ValueError: As in `recoloured`, or if the image is too long and thin to be resized (`Unreadable`).
    """
    if preprocessing is None:
        return recoloured(image, channels)
    if isinstance(image, Image.Image):
        return preprocessing.fit(image)
    x = recoloured(image, channels)
    return preprocessing.fit(x) if x.dtype == np.uint8 else preprocessing.fit_values(x)


def recoloured(image: np.ndarray | Image.Image, channels: int) -> np.ndarray:
    """Convert an image to this number of channels, without changing its size or the range of its values.

    Args:
      image: Picture, or an array [H, W] or [H, W, C] of uint8 or floats.
      channels: C of the result.

    Returns:
      [H, W, C], uint8 or float32.

    Raises:
      ValueError: If the numbers are of another type, or the channels cannot be converted.
    """
    if isinstance(image, Image.Image):
        return np.atleast_3d(np.asarray(convert(image, channels)))
    x = np.atleast_3d(image)
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"numbers of type {x.dtype}; images are of uint8 or floats")
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
    match x.shape[2], channels:
        case have, want if have == want:
            return x
        case ((1 | 3 | 4), (1 | 3)) if x.dtype == np.uint8:
            return np.atleast_3d(np.asarray(convert(_as_picture(x), channels)))
        case 1, 3:
            return np.repeat(x, 3, axis=2)
        case 3, 1:
            return x @ LUMA_WEIGHTS[:, None]
    raise ValueError(f"{x.shape[2]} channels, which cannot be converted to {channels}")


def _margin(have: int, want: int, rule: str) -> int:
    """Return the number of pixels to crop at the left or the top; negative if pixels are missing."""
    if have < want:
        return -((want - have) // 2)
    return (have - want) // 2 if rule == "floor" else round((have - want) / 2)


def _as_picture(picture: np.ndarray | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    a = np.asarray(picture)
    if a.dtype != np.uint8 or not (a.ndim == 2 or (a.ndim == 3 and a.shape[2] in (1, 3, 4))):
        raise ValueError(f"an image is uint8 [H, W] or [H, W, 1, 3 or 4], not {a.dtype} {list(a.shape)}")
    return Image.fromarray(a[:, :, 0] if a.shape[2:] == (1,) else a)


def _are_sides(value: Any) -> bool:
    if not isinstance(value, tuple) or not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return False
    return len(value) == 2 and min(value) >= 1 and math.prod(value) <= MAX_PIXELS


def are_numbers(value: Any, count: int) -> bool:
    """Return whether a value is a tuple of `count` finite numbers."""
    if not isinstance(value, tuple) or len(value) != count:
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
