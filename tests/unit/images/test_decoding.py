"""Image files of every kind, whole and broken."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax.images.decoding import Unreadable, convert, decode
from jepa_jax.images.formats import FORMATS, SUFFIXES, UNMARKED

Y, X = np.mgrid[:24, :32]
RGB = np.stack([8 * X, 255 - 8 * X, 10 * Y], -1).astype(np.uint8)
GREY = (8 * X).astype(np.uint8)
COLOUR, PLAIN = Image.fromarray(RGB), Image.fromarray(GREY)
WIDE = np.random.default_rng(0).integers(0, 2**16, GREY.shape, np.uint16)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be turned clockwise by a quarter


def grey_of(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def palette() -> Image.Image:
    picture = Image.fromarray(X.astype(np.uint8), "P")
    picture.putpalette(RGB[0].tobytes())
    return picture


def with_alpha(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(Image.fromarray((10 * Y).astype(np.uint8)))
    return picture


FLAT = np.broadcast_to(RGB[:1], RGB.shape)  # what the palette shows
OTHER = Image.new("RGB", COLOUR.size)
# What is saved, with which options, what it shows in colour, and by how much that may be off.
KINDS: dict[str, tuple[Image.Image, dict[str, Any], np.ndarray, int]] = {
    "colour.png": (COLOUR, {}, RGB, 0),
    "colour.bmp": (COLOUR, {}, RGB, 0),
    "colour.ppm": (COLOUR, {}, RGB, 0),
    "colour.tif": (COLOUR, {}, RGB, 0),
    "packed.tiff": (COLOUR, {"compression": "tiff_lzw"}, RGB, 0),
    "colour.jpg": (COLOUR, {"quality": 95, "subsampling": 0}, RGB, 12),
    "progressive.JPEG": (COLOUR, {"quality": 95, "subsampling": 0, "progressive": True}, RGB, 12),
    "colour.webp": (COLOUR, {"quality": 95}, RGB, 80),
    "exact.webp": (COLOUR, {"lossless": True}, RGB, 0),
    "grey.png": (PLAIN, {}, np.stack([GREY] * 3, -1), 0),
    "grey.jpg": (PLAIN, {"quality": 95}, np.stack([GREY] * 3, -1), 8),
    "grey.gif": (PLAIN, {}, np.stack([GREY] * 3, -1), 0),
    "grey.tif": (PLAIN, {}, np.stack([GREY] * 3, -1), 0),
    "bits.png": (PLAIN.convert("1", dither=Image.Dither.NONE), {}, np.stack([GREY // 128 * 255] * 3, -1), 0),
    "wide.png": (Image.fromarray(WIDE), {}, np.stack([np.round(WIDE / 257)] * 3, -1), 0),
    "wide.tif": (Image.fromarray(WIDE), {}, np.stack([np.round(WIDE / 257)] * 3, -1), 0),
    "palette.png": (palette(), {}, FLAT, 0),
    "palette.gif": (palette(), {}, FLAT, 0),
    "transparent.png": (palette(), {"transparency": bytes(range(32))}, FLAT, 0),
    "one clear colour.png": (palette(), {"transparency": 3}, FLAT, 0),
    "one clear colour.gif": (palette(), {"transparency": 3}, FLAT, 0),
    "alpha.png": (with_alpha(COLOUR), {}, RGB, 0),
    "alpha.webp": (with_alpha(COLOUR), {"lossless": True, "exact": True}, RGB, 0),
    "grey alpha.png": (with_alpha(PLAIN), {}, np.stack([GREY] * 3, -1), 0),
    "clear grey.png": (PLAIN, {"transparency": 8}, np.stack([GREY] * 3, -1), 0),
    "four inks.jpg": (COLOUR.convert("CMYK"), {"quality": 95}, RGB, 14),
    "four inks.tif": (COLOUR.convert("CMYK"), {}, RGB, 1),
    "luma.tif": (COLOUR.convert("YCbCr"), {}, RGB, 4),
    "animated.gif": (COLOUR.quantize(64), {"save_all": True, "append_images": [OTHER.quantize(2)]}, RGB, 60),
    "animated.png": (COLOUR, {"save_all": True, "append_images": [OTHER]}, RGB, 0),
    "animated.webp": (COLOUR, {"save_all": True, "append_images": [OTHER], "lossless": True}, RGB, 0),
    "pages.tif": (COLOUR, {"save_all": True, "append_images": [OTHER]}, RGB, 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind(name: str, tmp_path: Path) -> None:
    picture, options, shows, off = KINDS[name]
    picture.save(tmp_path / name, **options)
    assert name.lower().endswith(SUFFIXES)
    found = decode(tmp_path / name, 3)
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found, int) - shows).max() <= off
    grey = decode(tmp_path / name, 1)
    assert grey.mode == "L"
    assert np.abs(np.asarray(grey, int) - grey_of(shows.astype(np.uint8))).max() <= off


def test_sixteen_bits_of_a_pgm(tmp_path: Path) -> None:
    (tmp_path / "wide.ppm").write_bytes(b"P5 32 24 65535\n" + WIDE.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(tmp_path / "wide.ppm", 1), np.round(WIDE / 257))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_camera_was_turned(name: str, turn: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    COLOUR.save(tmp_path / name, exif=exif, quality=95)
    rotated = np.rot90(RGB, {1: 0, 2: 0, 3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}[turn])
    expected = rotated[:, ::-1] if turn in (2, 4, 5, 7) else rotated
    for channels, right in ((3, expected), (1, grey_of(np.ascontiguousarray(expected)))):
        found = np.asarray(decode(tmp_path / name, channels), int)
        assert found.shape == right.shape
        assert np.abs(found - right).mean() < 6  # other turns are off by 60 and more
    with Image.open(tmp_path / name) as picture:  # the same of a picture that someone else has opened
        np.testing.assert_array_equal(convert(picture, 3), decode(tmp_path / name, 3))


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    Image.fromarray(WIDE).save(tmp_path / "a.png", exif=TURNED)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 1), np.rot90(np.round(WIDE / 257), 3))


def test_damaged_metadata_lose_no_picture(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff nonsense")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 3), RGB)


def cut(name: str, share: float) -> Any:
    def write(path: Path) -> None:
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
        picture.save(path.with_name(name))
        content = path.with_name(name).read_bytes()
        path.with_name(name).write_bytes(content[: int(share * len(content))])

    return write


def bomb(path: Path) -> None:
    """A header of a picture of 10^10 pixels."""
    path.write_bytes(b"P6 100000 100000 255\n")


BROKEN: dict[str, tuple[Any, str]] = {
    "empty.png": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text.jpg": (lambda path: path.write_text("hello"), "not in a supported image format"),
    "script.png": (
        lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "not in a supported image format",
    ),
    "missing.png": (lambda path: None, "no such file"),
    "dangling.png": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "folder.png": (lambda path: path.mkdir(), "not a file"),
    "pipe.png": (os.mkfifo, "not a file"),
    "bomb.ppm": (bomb, "decompression bomb"),
    "float.tif": (lambda path: Image.fromarray(GREY.astype(np.float32)).save(path), "pixels of mode F"),
    "int.tif": (lambda path: Image.fromarray(GREY.astype(np.int32)).save(path), "pixels of mode I,"),
    **{
        f"{int(100 * share)}.{kind}": (cut(f"{int(100 * share)}.{kind}", share), "cut short|damaged|not in a supported")
        for kind in ("png", "jpg", "webp", "gif", "bmp", "ppm", "tif")
        for share in (0.05, 0.5, 0.95)
    },
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("channels", [1, 3])
def test_broken_files(name: str, channels: int, tmp_path: Path) -> None:
    write, says = BROKEN[name]
    write(tmp_path / name)
    with pytest.raises(Unreadable, match=says) as caught:
        decode(tmp_path / name, channels)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_file(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(Unreadable, match="permission denied"):
        decode(tmp_path / "a.png", 3)


def test_pillow_warns_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    COLOUR.save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", COLOUR.width * COLOUR.height - 1)
    with pytest.raises(Image.DecompressionBombWarning), Image.open(tmp_path / "large.png"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(tmp_path / "large.png", 3), RGB)
        warnings.simplefilter("error")  # in front of what was set before
        np.testing.assert_array_equal(decode(tmp_path / "large.png", 3), RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", COLOUR.width * COLOUR.height // 2 - 1)
    with pytest.raises(Unreadable, match="decompression bomb"):
        decode(tmp_path / "large.png", 3)


def test_every_suffix_has_a_reader() -> None:
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES} <= {*FORMATS, "TGA"}
    assert {suffix: Image.EXTENSION[suffix] for suffix in UNMARKED} == UNMARKED
    assert all(Image.OPEN[name][1] for name in FORMATS)  # each is recognised by its first bytes
