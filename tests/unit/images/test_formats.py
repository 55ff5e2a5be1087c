"""Which files are pictures: by a usual suffix, or by content."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images.decoding import MAX_PIXELS_VARIABLE, Unreadable, decode, pixel_limit
from jepa_jax.images.formats import MARK, MARK_BYTES, NO_SUFFIX, RESULTS, passed_over

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


def content(kind: str) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, kind)
    return buffer.getvalue()


# Content, and what it is counted as; None for a picture.
FILES: dict[str, tuple[bytes, str | None]] = {
    "a.jfif": (content("JPEG"), None),
    "a.JPG_large": (content("JPEG"), None),
    "a": (content("PNG"), None),
    "9f86d08": (content("JPEG"), None),
    "a.txt": (content("GIF"), None),
    "a.jp2": (content("JPEG2000"), None),
    "a.avif": (content("AVIF"), None),
    "a.jpg": (content("TIFF"), None),
    "a.TGA": (content("TGA"), None),
    "a.pnm": (content("PPM"), None),
    "a.ico": (content("ICO"), None),
    "a.qoi": (content("QOI"), None),
    "a.pcx": (content("PCX"), None),
    "broken.jpeg": (b"nothing", None),
    "empty.png": (b"", None),
    "b.txt": (b"Pictures of cats\n", ".txt"),
    "b.EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ".eps"),
    "b.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), ".heic"),
    "b.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', ".svg"),
    "b.pdf": (b"%PDF-1.7\n", ".pdf"),
    "b.DNG": (content("TIFF"), ".dng"),
    "b.dat": (content("TGA"), ".dat"),
    "b": (b"", NO_SUFFIX),
    "marked.png": (content("PNG")[:33] + b"\0\0\0\x11tEXt" + MARK_BYTES, RESULTS),
}


@pytest.mark.parametrize("name", FILES)
def test_the_kind_of_a_file(name: str, tmp_path: Path) -> None:
    data, kind = FILES[name]
    (tmp_path / name).write_bytes(data)
    assert passed_over(str(tmp_path / name)) == kind
    if kind is None and len(data) > 10:
        assert decode(tmp_path / name, 3).size == PICTURE.size


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    assert passed_over(str(tmp_path / "pipe")) == NO_SUFFIX  # and does not wait for a writer
    assert passed_over(str(tmp_path / "pipe.png")) is None
    assert passed_over(os.fsdecode(os.fsencode(tmp_path) + b"/a.\xff")) == ".\\xff"


def test_our_own_pictures_are_known(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([1, 2])
    figure.savefig(tmp_path / "a.png", metadata=MARK)
    frame = Image.open(tmp_path / "a.png").convert("P", palette=Image.Palette.ADAPTIVE)
    frame.save(tmp_path / "a.gif", save_all=True, append_images=[frame], comment=MARK_BYTES)
    figure.savefig(tmp_path / "b.png")
    assert [passed_over(str(tmp_path / name)) for name in ("a.png", "a.gif", "b.png")] == [RESULTS, RESULTS, None]


def test_a_limit_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PICTURE.save(tmp_path / "a.png")
    with pytest.raises(Unreadable, match=r"16 x 16 = 256 pixels, more than the limit of 255 .*--data.max-pixels"):
        decode(tmp_path / "a.png", 3, 255)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)  # as it is at first, and put back at the end
    (tmp_path / "slide.ppm").write_bytes(b"P4 19000 10000\n")
    with pytest.raises(Unreadable, match=rf"190000000 pixels, more than the limit of 178956970.*{MAX_PIXELS_VARIABLE}"):
        decode(tmp_path / "slide.ppm", 1)
    with pytest.raises(Unreadable, match=r"cut short|damaged"):  # there is nothing behind the header
        decode(tmp_path / "slide.ppm", 1, 190_000_000)
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "17")
    assert (pixel_limit(), pixel_limit(5)) == (17, 5)
    for wrong in ("many", "0", "-1"):
        monkeypatch.setenv(MAX_PIXELS_VARIABLE, wrong)
        with pytest.raises(ConfigError, match="it must be a positive integer"):
            pixel_limit()


def outcome(path: Path) -> str:
    try:
        return decode(path, 3, 10**6).mode
    except Unreadable as error:
        return str(error)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "AVIF"])
def test_damaged_bytes_are_a_picture_or_a_reason(kind: str, tmp_path: Path) -> None:
    whole, path = np.frombuffer(content(kind), np.uint8), tmp_path / "a.png"
    started = time.monotonic()
    for seed in range(50):
        rng, data = np.random.default_rng(seed), whole.copy()
        places = rng.integers(0, min(len(data), 120 if seed % 2 else len(data)), 1 + seed % 8)
        data[places] ^= rng.integers(1, 256, len(places), np.uint8)
        path.write_bytes(data.tobytes()[: rng.integers(1, len(data)) if seed % 3 == 0 else None])
        said = outcome(path)
        assert "\n" not in said
        assert str(tmp_path) not in said
        passed_over(str(path))
    assert time.monotonic() - started < 20
