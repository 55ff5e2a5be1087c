"""From an image file to an upright picture in RGB or grey, or to a few words on why there is none."""

import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
# Asked for by name: some of Pillow's other readers start a program (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as `warnings` keeps a filter


class Unreadable(ValueError):
    """A file that gives no picture. The message says why in a few words, the same for all files of a kind."""


def decode(path: Path, channels: int) -> Image.Image:
    """The picture in a file, as `convert` leaves it; of an animation the first frame.

    Raises:
      Unreadable: it cannot be read.
    """
    # Pillow warns of files that it reads all the same. The filter stays, because `warnings.catch_warnings` is not for
    # threads, and is put in front again when others have come before it.
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise Unreadable("not a file")
        if not status.st_size:
            raise Unreadable("the file is empty")
        with Image.open(path, formats=FORMATS) as picture:
            return convert(picture, channels)
    except Exception as error:  # of a damaged file Pillow raises whatever its readers stumble over
        raise Unreadable(_reason(error)) from None


def convert(picture: Image.Image, channels: int) -> Image.Image:
    """A picture upright by its EXIF tag, as RGB (channels 3) or grey (1), 8 bits each.

    Alpha is dropped: the colours under it show, as the authors of the encoders have it by `convert("RGB")`. Grey of 16
    bits is scaled by 1 / 257, not clipped.

    Raises:
      ValueError: pixels whose scale is not known (32-bit integers, floats), or of a colour space without a way to RGB.
      OSError and others, by Pillow: the file it comes from is damaged.
    """
    picture.load()  # first: damaged pixels must not pass for a damaged EXIF tag
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    picture = _upright(picture)
    if wide:
        picture = Image.fromarray(((np.asarray(picture).astype(np.int64) + 128) // 257).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode}, whose scale is not known")
    if picture.mode in ("P", "PA", "RGBa"):
        picture = picture.convert("RGBA")  # on any other way Pillow warns of a palette's transparency
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        try:
            picture = picture.convert("RGB")
        except ValueError:
            raise ValueError(f"pixels of mode {picture.mode}, which have no way to RGB") from None
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # Pillow raises a dozen kinds; damaged metadata are no reason to lose a picture
        return picture


def _reason(error: Exception) -> str:
    match error:
        case Unreadable():
            return str(error)
        case UnidentifiedImageError():
            return "not in an image format that is read"
        case Image.DecompressionBombError():
            return "so many pixels that it may be a decompression bomb"
        case OSError(strerror=str(text)):
            return text[0].lower() + text[1:]
        case MemoryError():
            return "there is not enough memory for it"
        case ValueError() if str(error).startswith("pixels of mode"):
            return str(error)
        case _:
            cut = "truncated" in str(error).lower()
            return "the file is cut short" if cut else "the image data are damaged"
