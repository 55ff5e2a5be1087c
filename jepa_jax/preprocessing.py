"""From a picture to the array an encoder takes: a recipe that is data, so that it is saved beside the weights."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from jepa_jax.decoding import convert
from jepa_jax.errors import ConfigError

RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of Pillow's numbers for them
LARGEST = 2**26  # pixels of a resized picture: more than any recipe means, but what is long and thin gets there


@dataclass(frozen=True)
class Preprocessing:
    """Upright, RGB or grey, resized, cropped around the centre, scaled to [0, 1], standardised.

    Attributes:
      size: H, W of the result.
      resize: the shorter side in pixels, the longer follows; or H, W, to which the picture is squashed.
      resample: Pillow's filter of this name, which antialiases where it shrinks.
      mean, std: of each channel, subtracted and divided by; 0 and 1 leave the colours in [0, 1].
      channels: 3 for RGB, 1 for grey.
      crop: what to do with an odd number of pixels too many: `round` is torchvision's rule, `floor` that of
        transformers. For a quarter of all sizes they lie a pixel apart.
      source: where the recipe is from, in words.

    Raises:
      ConfigError: values that no picture can be brought to.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    channels: int = 3
    crop: Literal["round", "floor"] = "round"
    source: str = ""

    def __post_init__(self) -> None:
        """Check the values."""
        for name, ok in (
            ("size", _are_sides(self.size)),
            ("resize", _are_sides(self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize))),
            ("resample", self.resample in RESAMPLE),
            ("channels", self.channels in (1, 3)),
            ("mean", _are_numbers(self.mean, self.channels)),
            ("std", _are_numbers(self.std, self.channels) and min(self.std) > 0),
            ("crop", self.crop in ("round", "floor")),
            ("source", isinstance(self.source, str)),
        ):
            if not ok:
                value = getattr(self, name)
                raise ConfigError(f"a preprocessing recipe with channels {self.channels} cannot have {name} {value!r}")

    def __call__(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        """The array an encoder takes.

        Args:
          picture: of any size; an array is uint8, [H, W] or [H, W, C] with 1 or 3 channels.

        Returns:
          float32 [H, W, C].

        Raises:
          ValueError: it is of another kind, or too long and thin to be resized.
        """
        picture = convert(_as_picture(picture), self.channels)
        picture = picture.resize(self._resized(*picture.size), RESAMPLE.index(self.resample))
        height, width = self.size
        left, top = (_margin(*sides, self.crop) for sides in zip(picture.size, (width, height), strict=True))
        picture = picture.crop((left, top, left + width, top + height))  # black where it is too small
        x = np.asarray(picture, np.float32).reshape(height, width, self.channels) / np.float32(255)
        return (x - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    @property
    def standardises(self) -> bool:
        """Whether the result is anything but colours in [0, 1]."""
        return any(self.mean) or any(s != 1 for s in self.std)

    def as_image(self, x: np.ndarray) -> Image.Image:
        """A result [H, W, C] to look at: without the statistics, clipped."""
        colours = np.clip(x * np.asarray(self.std, np.float32) + np.asarray(self.mean, np.float32), 0, 1)
        pixels = np.round(255 * colours).astype(np.uint8)
        return Image.fromarray(pixels if self.channels == 3 else pixels[:, :, 0])

    def at_size(self, side: int) -> "Preprocessing":
        """The same recipe for a square of so many pixels; what is cut off stays in proportion."""
        if isinstance(self.resize, int):
            return replace(self, size=(side, side), resize=round(self.resize * side / min(self.size)))
        height, width = (round(r * side / s) for r, s in zip(self.resize, self.size, strict=True))
        return replace(self, size=(side, side), resize=(height, width))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(tree: Any) -> "Preprocessing":
        """The recipe that `to_dict` gave, also after a way through JSON.

        Raises:
          ConfigError: it is damaged.
        """
        if not isinstance(tree, Mapping):
            raise ConfigError(f"a preprocessing recipe is an object, not {tree!r}")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(Preprocessing)}
        wrong = [*(tree.keys() - fields.keys()), *(name for name, must in fields.items() if must and name not in tree)]
        if wrong:
            raise ConfigError(f"a preprocessing recipe has {', '.join(fields)}; check {', '.join(map(str, wrong))}")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in tree.items()}
        return Preprocessing(**values)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing."""
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        shorter = min(width, height)
        width, height = (int(self.resize * side / shorter) for side in (width, height))
        if width * height > LARGEST:
            raise ValueError("the picture is too long and thin")
        return width, height


def plain(shape: tuple[int, ...]) -> Preprocessing:
    """The recipe of an encoder that was trained here: squashed to its shape, colours in [0, 1].

    Raises:
      ConfigError: samples of this shape are not images.
    """
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ConfigError(f"this encoder takes samples of shape {list(shape)}, not images")
    height, width, channels = shape
    none, one = (0.0,) * channels, (1.0,) * channels
    return Preprocessing((height, width), (height, width), "bilinear", none, one, channels, source="trained here")


def from_huggingface(config: Any, source: str = "preprocessor_config.json") -> Preprocessing:
    """The recipe in a `preprocessor_config.json`, in its spellings of all years.

    Args:
      config: the file's content.
      source: what to call it.

    Raises:
      ConfigError: it is damaged, or asks for a step that is not known here.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{source} should be an object, not {config!r}")
    config = {name: value for name, value in config.items() if value is not None}
    if unknown := [name for name, value in config.items() if value and _is_unknown_step(name)]:
        raise ConfigError(f"{source} asks for {', '.join(unknown)}, which is not known here")
    crops = bool(config.get("do_center_crop"))
    if not config.get("do_resize", True):
        raise ConfigError(f"{source} does not resize; for images of any size it needs do_resize")
    # A number alone is the shorter side for CLIP and its like, which crop, and a square for ViT, which does not.
    resize = _side(config, "size", source, shorter=crops and not config.get("default_to_square"))
    size = _side(config, "crop_size", source, shorter=False) if crops else resize
    if isinstance(size, int):
        raise ConfigError(f"{source} leaves images of many sizes; it needs do_center_crop, and crop_size in both sides")
    mean, std = (0.0,) * 3, (1.0,) * 3
    if config.get("do_normalize", True):
        mean, std = (_statistic(config, name, source) for name in ("image_mean", "image_std"))
    scale = _scale(config, source)
    mean, std = (tuple(value / scale for value in values) for values in (mean, std))
    try:
        return Preprocessing(size, resize, _resample(config, source), mean, std, crop="floor", source=source)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _is_unknown_step(name: str) -> bool:
    known = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
    others = ("crop_pct", "pad_size", "rescale_offset", "size_divisor")
    return name in others or (name.startswith("do_") and name not in known)


def _side(config: Mapping[str, Any], name: str, source: str, shorter: bool) -> int | tuple[int, int]:
    """A size in any spelling: the shorter side, or height and width."""
    value = config.get(name)
    given = {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value
    match given:
        case {"shortest_edge": int(side), **rest} if not rest:
            return side
        case {"height": int(height), "width": int(width), **rest} if not rest:
            return height, width
        case int(side):
            return side if shorter else (side, side)
    raise ConfigError(f"{source} has {name} {value!r}; it should be a number, shortest_edge, or height and width")


def _resample(config: Mapping[str, Any], source: str) -> Any:
    value = config.get("resample")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(RESAMPLE):
        raise ConfigError(f"{source} has resample {value!r}; it should be one of Pillow's numbers, 0 to 5")
    return RESAMPLE[value]


def _scale(config: Mapping[str, Any], source: str) -> float:
    """By how much the result differs from colours in [0, 1] before the statistics."""
    if not config.get("do_rescale", True):
        return 255.0
    value = config.get("rescale_factor", 1 / 255)
    if not _are_numbers((value,), 1) or value <= 0:
        raise ConfigError(f"{source} has rescale_factor {value!r}; it should be a positive number, such as 1 / 255")
    return 1.0 if math.isclose(255 * value, 1, rel_tol=1e-6) else 255.0 * value


def _statistic(config: Mapping[str, Any], name: str, source: str) -> tuple[float, ...]:
    value = config.get(name)
    values: Any = tuple(value) if isinstance(value, list | tuple) else (value,) * 3
    if not _are_numbers(values, 3) or (name == "image_std" and min(values) <= 0):
        raise ConfigError(f"{source} has {name} {value!r}; it should be three numbers, and image_std positive")
    return values


def _margin(have: int, want: int, rule: str) -> int:
    """Pixels to cut off at the left or the top; negative where some are missing."""
    if rule == "floor":
        return (have - want) // 2
    return round((have - want) / 2) if have > want else -((want - have) // 2)


def _as_picture(picture: np.ndarray | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    a = np.asarray(picture)
    if a.dtype != np.uint8 or not (a.ndim == 2 or (a.ndim == 3 and a.shape[2] in (1, 3))):
        raise ValueError(f"an image is uint8 [H, W] or [H, W, 1 or 3], not {a.dtype} {list(a.shape)}")
    return Image.fromarray(a[:, :, 0] if a.shape[2:] == (1,) else a)


def _are_sides(value: Any) -> bool:
    if not isinstance(value, tuple) or not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
        return False
    return len(value) == 2 and min(value) >= 1 and math.prod(value) <= LARGEST


def _are_numbers(value: Any, count: int) -> bool:
    if not isinstance(value, tuple) or len(value) != count:
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
