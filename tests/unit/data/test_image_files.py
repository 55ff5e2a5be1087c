"""One image and lists of images as data, what is said of other names, and the layout of arrays."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepa_jax.data import read_samples
from jepa_jax.data.arrays import layout_hint
from jepa_jax.data.image_folder import ImageFolder, find_images
from jepa_jax.data.registry import Options, open_dataset
from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import squashed

RECIPE = squashed((4, 4, 3))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for level, name in enumerate(("cats/a.png", "dogs/b.png", "c.png", "plain")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (level, level, level)).save(tmp_path / name, "PNG")
    (tmp_path / "notes.md").write_text("hello")
    return tmp_path


def test_one_image(photos: Path) -> None:
    for name, level in (("c.png", 2), ("plain", 3)):
        samples = read_samples(str(photos / name), None, preprocessing=RECIPE)
        assert [samples.id(0)] == [name]
        np.testing.assert_allclose(samples.x[:], np.full((1, 4, 4, 3), level / 255), atol=1e-7)
    (photos / "broken.jpg").write_text("hello")
    assert np.isnan(read_samples(str(photos / "broken.jpg"), None, preprocessing=RECIPE).x[0]).all()


def test_a_list(photos: Path) -> None:
    (photos / "cats" / "list.txt").write_bytes(
        b"\xef\xbb\xbf../dogs/b.png\r\n\na.png\n" + os.fsencode(photos / "c.png")
    )
    dataset = open_dataset(str(photos / "cats" / "list.txt"))
    assert isinstance(dataset, ImageFolder)
    assert dataset.names == ["../dogs/b.png", "a.png", str(photos / "c.png")]
    assert [dataset[i]["x"].getpixel((0, 0))[0] for i in range(3)] == [1, 0, 2]
    assert dataset.classes is None
    (photos / "list.txt").write_text("cats/a.png\ndogs/b.png\nc.png")
    dataset = open_dataset(str(photos / "list.txt"), Options(channels=1))
    assert [dataset[i]["label"] for i in range(3)] == [0, 1, -1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.txt", "c.png\n\nd.png\n", r"l.txt, line 3: 'd.png' is not a file; paths are relative"),
        ("l.txt", "\n", "l.txt lists no images"),
        ("t.json", "{}", "the file is not a world, .* a table FILE.csv"),
        ("notes.md", "hello", "the file is not a world, digits"),
        ("d.png", None, "d.png does not exist"),
        ("d.xyz", None, "it does not exist"),
    ],
)
def test_what_is_refused(name: str, content: str | None, says: str, photos: Path) -> None:
    if content is not None:
        (photos / name).write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        open_dataset(str(photos / name))
    assert "known:" not in str(caught.value)


def test_a_world_is_still_suggested() -> None:
    with pytest.raises(ConfigError, match="mixture_2d"):
        open_dataset("mixture_2")


def test_the_order_is_that_of_the_bytes(tmp_path: Path) -> None:
    names = [b"\xff.png", "\U0001f408.png".encode(), "\uff21.png".encode(), b"a.png", b"Z.png"]
    for name in names:
        Path(os.path.join(os.fsencode(tmp_path), name).decode(errors="surrogateescape")).touch()
    assert [os.fsencode(name) for name in find_images(tmp_path)[0]] == sorted(names)


def test_what_was_passed_over_is_kept(photos: Path) -> None:
    assert read_samples(str(photos), None, preprocessing=RECIPE).passed_over == {".md": 1}
    assert read_samples("digits", 3).passed_over is None


def test_layouts() -> None:
    want = (28, 28, 3)
    assert "x.transpose(0, 2, 3, 1)" in layout_hint((5, 3, 28, 28), want)
    assert "x[..., None]" in layout_hint((5, 28, 28), (28, 28, 1))
    assert "x[None]" in layout_hint(want, want)
    assert "x.reshape(-1, 28, 28, 3)" in layout_hint((5, 28 * 28 * 3), want)
    assert [layout_hint((5, *have), want) for have in (want, (32, 32, 3), (7,))] == [""] * 3
