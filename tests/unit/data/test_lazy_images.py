"""Image folders: which files count, and the sequence that decodes them ahead."""

import gc
import os
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax import config as cfg
from jepa_jax.data import LazyImages, in_memory, lazy_images, open_source, read_samples, readable
from jepa_jax.data import image_folder as folder
from jepa_jax.data.image_folder import ImageFolder, find_images
from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing, squashed

RECIPE = squashed((4, 6, 3))


def save(path: Path, level: int, size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def images_of(path: Path, preprocessing: Preprocessing, limit: int | None = None) -> LazyImages:
    return LazyImages(ImageFolder(path, preprocessing.channels), preprocessing, limit)


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Forty pictures, of which number i is all i / 255; two are broken."""
    for i in range(40):
        save(tmp_path / "all" / f"{i:02d}.png", i)
    (tmp_path / "all" / "07.png").write_bytes(b"")
    (tmp_path / "all" / "31.png").write_text("hello")
    return tmp_path / "all"


def levels(rows: np.ndarray) -> list[float]:
    """The number of each picture, -1 for one that could not be read."""
    flat = rows.reshape(-1, 4 * 6 * 3)
    assert ((flat == flat[:, :1]) | np.isnan(flat)).all()
    return [-1.0 if np.isnan(level) else round(float(255 * level)) for level in flat[:, 0]]


def expected(rows: Any) -> list[float]:
    return [-1.0 if row in (7, 31) else float(row) for row in rows]


def test_which_files_count(tmp_path: Path) -> None:
    wanted = ["B.PNG", "a b.jpeg", "a.png", "a/2.Tif", "a/b/c/1.webp", "ä/x.gif", "\U0001f600.bmp"]
    for name in [
        *wanted,
        ".hidden.png",
        ".git/a.png",
        "a/.cache/a.png",
        "notes.txt",
        "png",
        "a.png.txt",
        "a/archive.zip",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a folder.png").mkdir()
    assert find_images(tmp_path) == (sorted(wanted), {".txt": 2, "no suffix": 1, ".zip": 1})
    assert find_images(tmp_path / "a") == (["2.Tif", "b/c/1.webp"], {".zip": 1})


def test_links(tmp_path: Path) -> None:
    save(tmp_path / "data/z/1.png", 1)
    save(tmp_path / "elsewhere/2.png", 2)
    for link, to in (
        ("data/z/up", ".."), ("data/a", "z"), ("data/self", "self"), ("data/all", "."), ("data/out", "../elsewhere"),
        ("data/out too", "../elsewhere"), ("data/3.png", "z/1.png"), ("data/4.png", "nowhere"), ("data/5", "nowhere"),
    ):  # fmt: skip
        (tmp_path / link).symlink_to(to)
    assert find_images(tmp_path / "data") == (["3.png", "4.png", "out/2.png", "z/1.png"], {"no suffix": 2})
    (tmp_path / "link").symlink_to("data")
    assert find_images(tmp_path / "link") == find_images(tmp_path / "data")


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").touch()
    for name, says in (("empty", "empty has no images in it$"), ("text", "text has no images in it; it has 1 .txt")):
        with pytest.raises(ConfigError, match=says):
            read_samples(str(tmp_path / name), None, preprocessing=RECIPE)
    with pytest.raises(ConfigError, match="cannot be listed"):
        find_images(tmp_path / "missing")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_folder(numbered: Path) -> None:
    (numbered / "inner").mkdir(mode=0)
    with pytest.raises(ConfigError, match=r"inner cannot be listed: Permission denied"):
        find_images(numbered)


def test_rows(numbered: Path) -> None:
    images = images_of(numbered, RECIPE)
    assert (images.shape, images.ndim, images.dtype, len(images)) == ((40, 4, 6, 3), 4, np.float32, 40)
    for which in (slice(0, 9), slice(9, 12), slice(5, 33), slice(38, 99), slice(4, 4), slice(None), slice(30, 2, -7)):
        rows = images[which]
        assert rows.dtype == np.float32
        assert rows.shape[1:] == images.shape[1:]
        assert levels(rows) == expected(range(40)[which])
    for chosen in ([3, 4, 5], [5, 3, 3, 31], np.array([0, 0, 39]), []):
        assert levels(images[chosen]) == expected(chosen)
    assert images[12].shape == (4, 6, 3)
    np.testing.assert_array_equal(images[12], images[12:13][0])
    np.testing.assert_array_equal(images[-1], images[39])
    with pytest.raises(IndexError):
        images[40]


def test_rows_are_what_the_recipe_makes(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    recipe = Preprocessing((8, 8), 9, mean=(0.5,) * 3, std=(0.2,) * 3)
    np.testing.assert_array_equal(images_of(tmp_path, recipe)[0], recipe(picture))
    assert images_of(tmp_path, squashed((8, 8, 1))).shape == (1, 8, 8, 1)


def test_failures(numbered: Path) -> None:
    images = images_of(numbered, RECIPE)
    images[5:9]
    (numbered / "07.png").unlink()
    assert [images.failure(i) for i in (6, 7)] == [None, "the file is empty"]  # as it was read
    assert images.failure(31) == "not in a supported image format"  # read now
    assert images.failure(30) is None
    fresh = images_of(numbered, RECIPE)
    assert fresh.failure(30) == "not in a supported image format"
    (numbered / "thin.png").unlink(missing_ok=True)
    Image.new("L", (90_000, 1)).save(numbered / "thin.png")
    assert images_of(numbered, Preprocessing((40, 40), 40)).failure(39) == "the picture is too long and thin"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, as they are begun."""
    names: list[str] = []
    decode = folder.decode

    def noted(path: Path, channels: int, max_pixels: int) -> Image.Image:
        names.append(path.stem)
        return decode(path, channels, max_pixels)

    monkeypatch.setattr(folder, "decode", noted)
    return names


def settle(images: LazyImages) -> None:
    """Wait for what is decoded ahead."""
    for future in images._pending.values():
        future.exception()


def test_what_is_decoded(numbered: Path, decoded: list[str]) -> None:
    images = images_of(numbered, RECIPE)
    assert decoded == []
    images[3]
    assert decoded == ["03"]
    images[0:4]
    settle(images)
    assert sorted(decoded) == [f"{i:02d}" for i in range(12)]  # two slices' worth ahead; row 3 was still there
    for start in range(4, 40, 4):
        images[start : start + 4]
    settle(images)
    assert sorted(decoded) == [f"{i:02d}" for i in range(40)]  # none twice
    limited = images_of(numbered, RECIPE, limit=3)
    decoded.clear()
    assert levels(limited[:]) == [0, 1, 2]
    assert sorted(decoded) == ["00", "01", "02"]


def test_ahead_is_bounded_in_bytes(numbered: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_images, "READ_AHEAD_BYTES", 3 * 4 * 4 * 6 * 3 + 1)
    images = images_of(numbered, RECIPE)
    images[0:10]
    settle(images)
    assert len(decoded) == 13


def test_a_jump_drops_what_was_ahead(numbered: Path) -> None:
    images = images_of(numbered, RECIPE)
    images[0:4]
    images[30:32]
    assert set(images._pending) == {31, 32, 33, 34, 35}
    assert levels(images[0:40]) == expected(range(40))


def test_who_reads_in_order_does_not_wait(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the time, what is asked for next is decoded before, once."""
    decode, decoded = folder.decode, []
    monkeypatch.setattr(folder, "decode", lambda path, *how: (decoded.append(path.name), decode(path, *how))[1])
    images, names = images_of(numbered, RECIPE), [f"{i:02d}.png" for i in range(40)]
    for start in range(0, 40, 4):
        if start:
            wait(images._pending.values(), timeout=60)
            assert set(names[start : start + 4]) <= set(decoded)
        images[start : start + 4]
    assert sorted(decoded) == names


def test_nothing_is_left_when_it_goes(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = folder.decode
    monkeypatch.setattr(folder, "decode", lambda path, *how: (time.sleep(0.02), decode(path, *how))[1])
    images = images_of(numbered, RECIPE)
    threads = {t for t in threading.enumerate() if t.name.startswith("decode")}
    images[0:10]
    mine = {t for t in threading.enumerate() if t.name.startswith("decode")} - threads
    assert mine
    pending = list(images._pending.values())
    del images
    gc.collect()
    for thread in mine:
        thread.join(5)
        assert not thread.is_alive()
    assert sum(future.cancelled() for future in pending) > len(pending) / 2


def test_fingerprint(numbered: Path) -> None:
    def now(**options: Any) -> str:
        return images_of(numbered, RECIPE, **options).fingerprint()

    whole = now()
    assert now() == whole
    assert now(limit=39) != whole
    assert now(limit=100) == whole
    os.utime(numbered / "03.png", ns=(1, 1))
    touched = now()
    assert touched != whole
    (numbered / "03.png").rename(numbered / "03.PNG")
    renamed = now()
    assert renamed != touched
    (numbered / "03.PNG").unlink()
    (numbered / "03.PNG").symlink_to("nowhere")
    assert now() not in (whole, touched, renamed)


def test_thumbnails_are_not_distorted(tmp_path: Path) -> None:
    save(tmp_path / "1.png", 50, (400, 100))
    save(tmp_path / "2.png", 50, (10, 20))
    (tmp_path / "3.png").touch()
    images = images_of(tmp_path, RECIPE)
    found = [images.thumbnail(i, 64) for i in range(3)]
    assert [image and image.size for image in found] == [(64, 16), (10, 20), None]
    assert found[0] is not None
    assert found[0].getpixel((3, 3)) == (50, 50, 50)


def test_all_in_memory(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(numbered, RECIPE)
    whole = in_memory(images, "--against", "use --limit")
    assert levels(whole) == expected(range(40))
    np.testing.assert_array_equal(np.flatnonzero(~readable(whole)), [7, 31])
    assert in_memory(whole, "", "") is whole
    needed = whole.nbytes
    monkeypatch.setattr(lazy_images, "available", lambda platform: 4 * needed)
    assert len(in_memory(images, "", "")) == 40
    monkeypatch.setattr(lazy_images, "available", lambda platform: None)
    assert len(in_memory(images, "", "")) == 40
    monkeypatch.setattr(lazy_images, "available", lambda platform: 4 * needed - 1)
    with pytest.raises(ConfigError, match=r"--against needs all 40 images in memory.*; use --limit"):
        in_memory(images, "--against", "use --limit")


def test_the_grammar(numbered: Path) -> None:
    samples = read_samples(str(numbered), 9, preprocessing=RECIPE)
    assert isinstance(samples.x, LazyImages)
    assert samples.ids is not None
    assert samples.ids.tolist() == [f"{i:02d}.png" for i in range(9)]
    assert samples.log_density is samples.label is samples.pair is None
    with pytest.raises(ConfigError, match="folder of images, but this encoder takes no images"):
        read_samples(str(numbered), None)
    source = open_source(cfg.Data(str(numbered), batch_size=5, size=8))
    assert source.batches is not None  # training reads it as it goes
    assert (source.shape, source.batch_size) == ((8, 8, 3), 5)


def test_a_world_comes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rings", "digits"):
        (tmp_path / name).mkdir()
        assert read_samples(name, 3).x.shape[0] == 3


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    try:
        save(tmp_path / "a.png", 9)
        os.rename(tmp_path / "a.png", os.path.join(os.fsencode(tmp_path), b"\xff.png"))
    except OSError:
        pytest.skip("this file system has only Unicode")
    samples = read_samples(str(tmp_path), None, preprocessing=RECIPE)
    assert samples.ids is not None
    assert samples.ids.tolist() == ["\\xff.png"]
    assert levels(samples.x[:]) == [9]
    assert isinstance(samples.x, LazyImages)
    assert len(samples.x.fingerprint()) == 64
