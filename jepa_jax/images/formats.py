"""Recognition of picture files: by their suffix if it is a usual one, otherwise by their content."""

import os

from PIL import Image

# A file with one of these is a picture, possibly a damaged one; a file with any other is one if its content says so.
SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".ico",
)  # fmt: skip
# Formats that Pillow may read. Some of its other readers start a program (EPS: Ghostscript) or read no pixels (HDF5).
FORMATS = (
    "PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "ICO", "CUR", "DIB", "ICNS", "PCX", "DCX",
    "PSD", "QOI", "SGI", "SUN", "DDS", "FITS", "FLI", "MSP", "PIXAR", "XBM", "XPM",
)  # fmt: skip
# Formats whose files begin with no mark, so that many others look like them; they are known by the suffix.
UNMARKED = {".tga": "TGA", ".icb": "TGA", ".vda": "TGA", ".vst": "TGA", ".im": "IM"}
PREFIX_BYTES = 16  # of a file, by which Pillow selects a reader
# Raw files of cameras are TIFF outside, and hold a small preview in place of the picture.
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
MARK = {"Software": "jepa_jax"}  # metadata of the pictures that the programs write
MARK_BYTES = b"Software\0jepa_jax"  # the same as it is found in a PNG file; the comment of a GIF file
HEAD_BYTES = 2048  # of a file, in which the mark lies
RESULTS = "results of jepa_jax"
NO_SUFFIX = "no suffix"


def formats_of(path: str) -> tuple[str, ...]:
    """Return Pillow's names of the formats that a file may have."""
    unmarked = UNMARKED.get(os.path.splitext(path)[1].lower())
    return FORMATS if unmarked is None else (*FORMATS, unmarked)


def passed_over(path: str) -> str | None:
    """Return the kind under which a file that is no picture is counted, or None for a picture.

    The kind is the suffix in lower case, `NO_SUFFIX`, or `RESULTS` for a picture that one of the programs wrote. Only
    the first bytes of a file are read, and none if the suffix is decisive.

    Args:
      path: Path of an existing file, or of a broken link.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (".png", ".gif") and _is_marked(path):
        return RESULTS
    if suffix in SUFFIXES or (suffix not in RAW_SUFFIXES and identified(path)):
        return None
    # A suffix is shown in tables and JSON, which hold no undecodable bytes.
    return os.fsencode(suffix).decode(errors="backslashreplace") or NO_SUFFIX


def identified(path: str) -> bool:
    """Return whether the content of a file begins as a picture that can be decoded does."""
    if not os.path.isfile(path):  # opening a pipe would block
        return False
    try:
        with open(path, "rb") as file:
            prefix = file.read(PREFIX_BYTES)
        Image.init()
        readers = [Image.OPEN[name][1] for name in formats_of(path) if name in Image.OPEN]
        if not any(accept is None or accept(prefix) for accept in readers):  # ten times as fast as Pillow's refusal
            return False
        with Image.open(path, formats=formats_of(path)):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # readers of foreign content raise any exception
        return False


def _is_marked(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return MARK_BYTES in file.read(HEAD_BYTES)
    except OSError:
        return False
