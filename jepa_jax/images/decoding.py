"""Decoding of an image file to an upright picture in RGB or grey, or to a short reason why it cannot be read."""

import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
# Formats that Pillow may read. Some of its other readers start a program (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # in the form in which `warnings` stores a filter


class Unreadable(ValueError):
    """Error for a file that cannot be read as a picture; its message is a short reason without the file's name."""


def decode(path: Path, channels: int) -> Image.Image:
    """Return the picture in a file, as `convert` returns it; for an animation, the first frame.

    Raises:
      Unreadable: If the file cannot be read.
    """
    # Pillow warns about files that it can read. The filter stays, because `warnings.catch_warnings` is not thread-safe,
    # and is put in front again if other filters were added before it.
    if warnings.filters[:1] != [_PILLOW_FILTER]:
        warnings.filterwarnings("ignore", module=_PILLOW_FILTER[3].pattern)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise Unreadable("not a file")
        if not status.st_size:
            raise Unreadable("the file is empty")
        with Image.open(path, formats=FORMATS) as picture:
            return convert(picture, channels)
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


def _reason(error: Exception) -> str:
    match error:
        case Unreadable():
            return str(error)
        case UnidentifiedImageError():
            return "not in a supported image format"
        case Image.DecompressionBombError():
            return "possibly a decompression bomb, because of its number of pixels"
        case OSError(strerror=str(text)):
            return text[0].lower() + text[1:]
        case MemoryError():
            return "there is not enough memory for it"
        case ValueError() if str(error).startswith("pixels of mode"):
            return str(error)
        case _:
            cut = "truncated" in str(error).lower()
            return "the file is cut short" if cut else "the image data are damaged"
