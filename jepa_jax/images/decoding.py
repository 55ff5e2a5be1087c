"""Decoding of an image file to an upright picture in RGB or grey, or to a short reason why it cannot be read."""

import io
import os
import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jepa_jax.errors import ConfigError
from jepa_jax.images.formats import formats_of

MAX_PIXELS = 178_956_970  # of a file, Pillow's own limit; a picture of this size takes 0.5 GB
MAX_PIXELS_VARIABLE = "JEPA_JAX_MAX_PIXELS"  # environment variable that holds another limit

_PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # in the form in which `warnings` stores a filter


class Unreadable(ValueError):
    """Error for a file that cannot be read as a picture; its message is a short reason without the file's name."""


def pixel_limit(wanted: int | None = None) -> int:
    """Return the maximum number of pixels of a file: `wanted`, or that of the environment, or `MAX_PIXELS`.

    Raises:
      ConfigError: If it is no positive integer.
    """
    text = str(wanted) if wanted is not None else os.environ.get(MAX_PIXELS_VARIABLE, "") or str(MAX_PIXELS)
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) == 0:
        raise ConfigError(f"the limit of pixels ({MAX_PIXELS_VARIABLE}) is {text}; it must be a positive integer")
    return int(text)


def decode(path: Path | bytes, channels: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture in a file, as `convert` returns it; for an animation, the first frame.

    Args:
      path: File, or its content.
      channels: 3 for RGB, 1 for grey.
      max_pixels: Maximum number of pixels, a guard against files that are small and decode to gigabytes.

    Raises:
      Unreadable: If the file cannot be read.
    """
    # Pillow warns about files that it can read. The filter stays, because `warnings.catch_warnings` is not thread-safe,
    # and is put in front again if other filters were added before it.
    if warnings.filters[:1] != [_PILLOW_FILTER]:
        warnings.filterwarnings("ignore", module=_PILLOW_FILTER[3].pattern)
    try:
        _check_file(path)
        _let_pillow_open(max_pixels)
        name, file = ("", io.BytesIO(path)) if isinstance(path, bytes) else (str(path), path)
        with Image.open(file, formats=formats_of(name)) as picture:
            if (pixels := picture.width * picture.height) > max_pixels:
                raise Unreadable(_too_large(f"{picture.width} x {picture.height} = {pixels}", max_pixels))
            return convert(picture, channels)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise Unreadable(_too_large(pixels[0] if pixels else "too many", max_pixels)) from None
    except UnidentifiedImageError:
        raise Unreadable(_unidentified(path)) from None
    except Exception as error:  # a damaged file can raise any exception in Pillow's readers
        raise Unreadable(_reason(error)) from None


def convert(picture: Image.Image, channels: int) -> Image.Image:
    """Convert a picture to RGB or grey with 8 bits, and turn it upright by its EXIF tag.

    Alpha is dropped, which shows the colours beneath it, as the authors of the encoders do by `convert("RGB")`. Grey
    values of 16 bits are scaled by 1 / 257, not clipped.

    Args:
      picture: Picture of any mode.
      channels: 3 for RGB, 1 for grey.

    Raises:
      ValueError: If the scale of the pixels is not known (32-bit integers, floats), or their colour space cannot be
        converted to RGB.
      OSError: If the file of the picture is damaged; Pillow also raises other exceptions in this case.
    """
    picture.load()  # first, so that damaged pixels are not mistaken for a damaged EXIF tag
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    picture = _upright(picture)
    if wide:
        picture = Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode}, whose scale is not known")
    if picture.mode in ("P", "PA", "RGBa"):
        picture = picture.convert("RGBA")  # by any other way, Pillow warns about the transparency of the palette
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        try:
            picture = picture.convert("RGB")
        except ValueError:
            raise ValueError(f"pixels of mode {picture.mode}, which cannot be converted to RGB") from None
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # Pillow raises many types; damaged metadata are no reason to lose a picture
        return picture


def _let_pillow_open(max_pixels: int) -> None:
    """Raise Pillow's own limit, which is one of the process, to this one; Pillow refuses twice its number."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > max(2 * Image.MAX_IMAGE_PIXELS, MAX_PIXELS):
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)


def _too_large(size: str, limit: int) -> str:
    return (
        f"the picture has {size} pixels, more than the limit of {limit} against decompression bombs; raise it with "
        f"--max-pixels of score, --data.max-pixels of train, or {MAX_PIXELS_VARIABLE}"
    )


def _check_file(path: Path | bytes) -> None:
    """Check that there is a file with content.

    Raises:
      Unreadable: If there is none.
    """
    if isinstance(path, bytes):
        size = len(path)
    else:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise Unreadable("not a file")
        size = status.st_size
    if not size:
        raise Unreadable("the file is empty")


def _unidentified(path: Path | bytes) -> str:
    with io.BytesIO(path) if isinstance(path, bytes) else path.open("rb") as file:
        head = file.read(4)
    if head in (b"II*\0", b"MM\0*"):
        return "a TIFF file that is damaged, or whose bands or numbers are of a kind that is not supported"
    return "not in a supported image format"


def _reason(error: Exception) -> str:
    match error:
        case Unreadable():
            return str(error)
        case OSError(strerror=str(text)):
            return text[0].lower() + text[1:]
        case MemoryError():
            return "there is not enough memory for it"
        case ValueError() if str(error).startswith("pixels of mode"):
            return str(error)
        case _:
            cut = "truncated" in str(error).lower()
            return "the file is cut short" if cut else "the image data are damaged"
