"""Streams of images: shuffled, divided, resumed, brought to one shape; and every way in which data can be wrong."""

import json
import re
import shutil
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from jepa_jax.data import tfds as tfds_records
from jepa_jax.data.loader import Loader, LoaderOptions
from jepa_jax.data.sprites_builder.__main__ import main as prepare
from jepa_jax.data.streaming import open_stream, read_some
from jepa_jax.errors import ConfigError
from jepa_jax.images import centre_square
from jepa_jax.images import fit as fit_image
from jepa_jax.worlds import sprites

COUNT = 30


def options(batch_size: int = 6, **changes: Any) -> LoaderOptions:
    return LoaderOptions(**{"batch_size": batch_size, "seed": 0, "size": None, **changes})


@pytest.fixture
def arrays(tmp_path: Path) -> str:
    """Image i is all i; so is its log-density; its label is i modulo 3, as text."""
    x = np.zeros((COUNT, 4, 4, 3), np.uint8) + np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
    label = np.array(["red", "blue", "green"])[np.arange(COUNT) % 3]
    np.savez(tmp_path / "x.npz", x=x, label=label, log_density=np.arange(COUNT, dtype=np.float64))
    return str(tmp_path / "x.npz")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Image i is all 8 i, of one of three sizes, in one of three folders; 4, 5 and 29 are broken."""
    for i in range(COUNT):
        path = tmp_path / "photos" / "abc"[i // 10] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", [(8, 8), (12, 9), (8, 20)][i % 3], (8 * i,) * 3).save(path)
    for broken in ("a/04", "a/05", "c/29"):
        (tmp_path / "photos" / f"{broken}.png").write_bytes(b"nothing")
    return str(tmp_path / "photos")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TFDS folder with our sprites in it."""
    root = tmp_path_factory.mktemp("tfds")
    assert prepare(["--data-dir", str(root), "--config", "small"]) == 0
    return root


@pytest.fixture
def data_dir(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    return prepared


def take(batches: Loader, count: int) -> list[np.ndarray]:
    """The numbers of the samples in so many batches."""
    return [next(batches)["index"] for _ in range(count)]


def test_a_batch(arrays: str) -> None:
    stream = open_stream(arrays, options())
    assert (stream.shape, stream.count, stream.classes) == ((4, 4, 3), COUNT, 3)
    batch = next(stream.batches())
    kinds = {name: (column.dtype, column.shape) for name, column in batch.items()}
    assert kinds == {
        "x": (np.uint8, (6, 4, 4, 3)),
        "label": (np.int32, (6,)),
        "index": (np.int64, (6,)),
        "log_density": (np.float32, (6,)),
    }
    numbers = batch["index"]
    np.testing.assert_array_equal(batch["x"], np.broadcast_to(numbers[:, None, None, None], (6, 4, 4, 3)))
    np.testing.assert_array_equal(batch["label"], np.array([2, 0, 1])[numbers % 3])  # blue, green, red
    np.testing.assert_array_equal(batch["log_density"], numbers.astype(np.float32))
    assert type(next(open_stream(arrays, options(workers=2)).batches())["x"]) is np.ndarray  # from no other process


def test_epochs(arrays: str) -> None:
    orders = {}
    for seed in (0, 1):
        batches = open_stream(arrays, options(seed=seed)).batches()
        for epoch in range(3):
            orders[seed, epoch] = tuple(np.concatenate(take(batches, 5)).tolist())
            assert sorted(orders[seed, epoch]) == list(range(COUNT))
    assert len(set(orders.values())) == 6  # also: the second epoch of a seed is not the first of the next


def test_an_epoch_that_no_batch_divides(arrays: str) -> None:
    numbers = np.concatenate(take(open_stream(arrays, options(8)).batches(), 15))
    np.testing.assert_array_equal(np.bincount(numbers), np.full(COUNT, 4))


@pytest.mark.parametrize(("batch_size", "processes"), [(6, 2), (6, 3), (8, 4)])
def test_processes_share_the_batches_of_one(arrays: str, batch_size: int, processes: int) -> None:
    alone = open_stream(arrays, options(batch_size)).batches()
    shares = [
        open_stream(arrays, options(batch_size, process=process, processes=processes)).batches()
        for process in range(processes)
    ]
    for _ in range(10):  # more than an epoch, also where its samples cannot be shared evenly
        parts = [next(share)["index"] for share in shares]
        np.testing.assert_array_equal(np.stack(parts, 1).ravel(), next(alone)["index"])
        assert all(share.get_state() == alone.get_state() for share in shares)


@pytest.mark.parametrize("before", [0, 1, 3, 5, 12])
def test_resumed(arrays: str, before: int) -> None:
    stream = open_stream(arrays, options())
    first = stream.batches()
    take(first, before)
    state = json.loads(json.dumps(first.get_state()))
    expected = take(first, 4)
    again = stream.batches()
    take(again, 2)  # what an iterator has done before does not matter
    again.set_state(state)
    assert again.get_state() == state
    np.testing.assert_array_equal(take(again, 4), expected)
    assert again.get_state() == first.get_state()


def test_resumed_by_more_processes(arrays: str) -> None:
    alone = open_stream(arrays, options()).batches()
    take(alone, 3)
    shares = [open_stream(arrays, options(process=process, processes=2)).batches() for process in (0, 1)]
    for share in shares:
        share.set_state(alone.get_state())
    np.testing.assert_array_equal(np.stack([next(s)["index"] for s in shares], 1).ravel(), next(alone)["index"])


def test_a_state_of_other_data(arrays: str) -> None:
    batches = open_stream(arrays, options()).batches()
    for change, message in (
        ({"seed": 1}, "the seed was 1 when the run was saved and is 0 now"),
        ({"count": 31}, r"the number of images in .*x.npz was 31 when the run was saved and is 30 now"),
    ):
        with pytest.raises(ConfigError, match=message):
            batches.set_state(batches.get_state() | change)
    share = open_stream(arrays, options(process=0, processes=2)).batches()
    with pytest.raises(ConfigError, match="2 processes cannot share the 3 samples"):
        share.set_state(share.get_state() | {"next": 3})


def test_a_folder(folder: str) -> None:
    stream = open_stream(folder, options(5, size=8))
    assert (stream.shape, stream.count, stream.classes) == ((8, 8, 3), COUNT, 3)
    batches = stream.batches()
    assert batches.unreadable() is None
    epoch = [next(batches) for _ in range(6)]
    columns = {name: np.concatenate([batch[name] for batch in epoch]) for name in epoch[0]}
    numbers = columns["index"]
    # In the place of what cannot be read, the next.
    assert sorted(numbers) == sorted([*(set(range(COUNT)) - {4, 5, 29}), 6, 6, 0])
    np.testing.assert_array_equal(columns["x"], np.broadcast_to(8 * numbers[:, None, None, None], (30, 8, 8, 3)))
    np.testing.assert_array_equal(columns["label"], numbers // 10)
    said = batches.unreadable()
    assert said is not None
    assert said.startswith("3 of 30 images cannot be read")
    assert said.endswith("the first is a/04.png: not in an image format that is read")


def test_labels_are_the_first_folders(tmp_path: Path) -> None:
    for name in ("z/1.png", "b/deep/2.png", "b/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    some = read_some(str(tmp_path), 9, size=None, labels=True)
    assert some["label"].tolist() == [-1, 0, 0, 1]  # 4.png, b/3.png, b/deep/2.png, z/1.png
    assert open_stream(str(tmp_path / "z"), options(1)).classes is None
    with pytest.raises(ConfigError, match="z has no labels; a folder has them in its first level of folders"):
        open_stream(str(tmp_path / "z"), options(1, labels=True))


@pytest.mark.slow
def test_workers(folder: str) -> None:
    """Processes go on where threads stopped, with the same batches, and threads where processes did."""
    threads = open_stream(folder, options(5, size=8)).batches()
    workers = open_stream(folder, options(5, size=8, workers=2)).batches()
    take(threads, 3)
    workers.set_state(threads.get_state())
    for _ in range(7):
        expected, batch = next(threads), next(workers)
        assert batch.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])
    assert workers.unreadable() == threads.unreadable() is not None
    again = open_stream(folder, options(5, size=8)).batches()
    again.set_state(json.loads(json.dumps(workers.get_state())))
    np.testing.assert_array_equal(take(again, 3), take(workers, 3))
    workers.close()


@pytest.mark.slow
def test_workers_say_what_is_wrong(folder: str) -> None:
    batches = open_stream(folder, options(5, workers=1)).batches()
    with pytest.raises(ConfigError, match="give a size"):
        take(batches, 6)
    batches.close()


def test_read_some(folder: str, arrays: str) -> None:
    some = read_some(folder, 7, size=8)
    assert some["index"].tolist() == sorted({*some["index"].tolist()} - {4, 5, 29})
    assert some["index"].tolist() != list(range(7))  # not the first ones, which are of one class
    assert some["x"][:, 0, 0, 0].tolist() == [8 * n for n in some["index"]]
    assert (some["x"].dtype, some["label"].dtype) == (np.uint8, np.int32)
    assert len(read_some(folder, 99, size=8)["index"]) == COUNT - 3
    rows = read_some(arrays, 4, size=None)
    np.testing.assert_array_equal(rows["log_density"], rows["index"].astype(np.float32))


def test_holdout(folder: str) -> None:
    """What is kept out of the stream is read by `held`, and nothing is in both."""
    stream = open_stream(folder, options(5, size=8, holdout=0.4))
    batches = stream.batches()
    seen = {int(v) for _ in range(8) for v in next(batches)["x"][:, 0, 0, 0]}
    held = set(read_some(folder, 99, size=8, holdout=0.4, held=True)["x"][:, 0, 0, 0].tolist())
    rest = set(read_some(folder, 99, size=8, holdout=0.4)["x"][:, 0, 0, 0].tolist())
    assert seen == rest
    assert not seen & held
    assert len(seen | held) == COUNT - 3
    with pytest.raises(ConfigError, match="a holdout of 1e-09 of 30 images leaves none"):
        read_some(folder, 9, size=8, holdout=1e-9, held=True)


def test_digits() -> None:
    stream = open_stream("digits", options(8, channels=1, labels=True))
    assert (stream.shape, stream.count, stream.classes) == ((8, 8, 1), 1797, 10)
    batch = next(stream.batches())
    assert batch["x"].dtype == np.float32
    assert 0 <= batch["x"].min() < batch["x"].max() == 1


def fit(image: np.ndarray, side: int | None, channels: int) -> np.ndarray:
    """As a stream brings its images to a square."""
    return fit_image(image, None if side is None else centre_square(side, channels), channels)


NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


@pytest.mark.parametrize("scale", [1, np.float32(1 / 255)])
@pytest.mark.parametrize("transposed", [False, True])
def test_fit_takes_the_square_in_the_centre(scale: Any, transposed: bool) -> None:
    image = (NOISE.transpose(1, 0, 2) if transposed else NOISE) * scale
    square = image[:, 5:35] if transposed else image[5:35]
    np.testing.assert_array_equal(fit(image, 30, 3), square)
    # Down to 10 pixels: antialiased, so that each is about the mean of the nine it covers, and the noise is gone.
    small = fit(image, 10, 3)
    assert (small.dtype, small.shape) == (image.dtype, (10, 10, 3))
    means = square.reshape(10, 3, 10, 3, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > 0.8
    assert small.std() < 0.5 * square.std()
    np.testing.assert_allclose(small.mean(), square.mean(), rtol=0.02)


def test_fit_bytes_and_floats_alike() -> None:
    for channels, side in ((3, 17), (1, 17), (1, None)):
        of_bytes, of_floats = fit(NOISE, side, channels), fit(NOISE.astype(np.float32), side, channels)
        assert of_floats.dtype == np.float32
        np.testing.assert_allclose(of_bytes, np.clip(of_floats, 0, 255), atol=2.01)  # rounded, once or twice


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_colours(kind: type) -> None:
    grey = NOISE[:, :, :1].astype(kind)
    out = fit(grey, None, 3)
    np.testing.assert_array_equal(out, np.repeat(grey, 3, axis=2).astype(out.dtype))
    np.testing.assert_allclose(fit(out, None, 1), grey, rtol=1e-6)
    assert fit(np.zeros((5, 4, 7), kind), None, 7).shape == (5, 4, 7)


def test_colours_of_pictures(tmp_path: Path) -> None:
    for name, mode, colour in (("a", "L", 200), ("b", "RGB", (255, 0, 0)), ("c", "RGBA", (0, 0, 255, 0))):
        Image.new(mode, (4, 4), colour).save(tmp_path / f"{name}.png")
    colours = read_some(str(tmp_path), 3, size=None)["x"]
    assert colours[:, 0, 0].tolist() == [[200] * 3, [255, 0, 0], [0, 0, 255]]
    assert read_some(str(tmp_path), 3, size=None, channels=1)["x"][:, 0, 0].tolist() == [[200], [76], [29]]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.int32), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 4))])
def test_what_does_not_fit(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"numbers of type int32|channels, which cannot be brought to 3"):
        fit(image, None, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 62, "processes": 31}, "has 30 images, fewer than there are processes, 31"),
        ({"batch_size": 0}, "the batch size is 0; it must be positive"),
        ({"processes": 4}, "a batch of 6 cannot be divided among 4 processes; take a multiple"),
        ({"process": 2, "processes": 2}, "process 2 of 2"),
        ({"size": 0}, "the size of images is 0"),
        ({"workers": -1}, "the number of workers is -1"),
        ({"channels": 2}, "x.npz: image 0 has 3 channels, which cannot be brought to 2"),
    ],
)
def test_wrong_options(arrays: str, changes: dict[str, Any], message: str) -> None:
    refused(arrays, options(**changes), message)


def refused(spec: str, o: LoaderOptions, message: str) -> None:
    """Opening says so, in one line."""
    with pytest.raises(ConfigError, match=message) as caught:
        open_stream(spec, o)
    assert "\n" not in str(caught.value)


def test_wrong_folders(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), options(), "empty has no images in it")
    refused(str(tmp_path / "none"), options(), "unknown data '.*none': not a world, digits")
    refused(folder, options(channels=4), "in 4 channels; take 3 for colours or 1 for grey")
    with pytest.raises(ConfigError, match=r"image \d+ is of \d+ x \d+ pixels and another of 8 x 8; give a size"):
        take(open_stream(folder, options()).batches(), 5)
    for name in "ab":
        (tmp_path / "empty" / f"{name}.png").touch()
    refused(str(tmp_path / "empty"), options(2), "none of 2 images can be read; b.png: the file is empty")


def test_wrong_arrays(tmp_path: Path) -> None:
    x = np.zeros((9, 4, 4, 3), np.float32)
    path = str(tmp_path / "x.npz")
    np.savez(path, x=x[:, 0, 0])
    refused(path, options(), r"a sample has shape \[3\]; a stream is of images")
    np.savez(path, x=x, pair=x)
    refused(path, options(), "has pairs, and a stream is of single images")
    np.savez(path, x=x)
    refused(path, options(labels=True), "x.npz has no labels; .* an .npz as label")
    np.savez(path, x=x, label=np.array([5, -1, 7] * 3))
    assert open_stream(path, options()).classes == 2
    assert read_some(path, 9, size=None)["label"].tolist() == [0, -1, 1] * 3


def test_sprites(data_dir: Path) -> None:
    """Through TFDS and back: the density is still the exact one of the image."""
    stream = open_stream("tfds:jepa_sprites/small", options(32, channels=1))
    assert (stream.shape, stream.count, stream.classes) == ((16, 16, 1), 96, None)
    batches = stream.batches()
    epoch = [next(batches) for _ in range(3)]
    assert sorted(np.concatenate([batch["index"] for batch in epoch])) == list(range(96))
    assert len(open_stream("tfds:jepa_sprites/small:train[:25%]+test", options(8, channels=1)).samples) == 24 + 32
    batch = epoch[0]
    assert batch["x"].dtype == np.float32
    latents = np.stack([stream.samples.dataset._source[number]["latents"] for number in batch["index"]])
    np.testing.assert_allclose(jax.vmap(sprites.render)(latents), batch["x"], atol=1e-6)
    np.testing.assert_allclose(jax.vmap(sprites.log_density)(latents), batch["log_density"], rtol=1e-5)
    train, test = (read_some(f"tfds:jepa_sprites/small:{split}", 96, size=None) for split in ("train", "test"))
    images = np.concatenate([train["x"], test["x"]])
    assert len(np.unique(images.reshape(128, -1), axis=0)) == 128
    assert open_stream("tfds:jepa_sprites/small", options(8, size=8)).shape == (8, 8, 3)


@pytest.mark.slow
def test_a_worker_reads_tfds(data_dir: Path) -> None:
    threads, worker = (
        open_stream("tfds:jepa_sprites/small", options(32, channels=1, workers=workers)).batches() for workers in (0, 1)
    )
    for _ in range(4):
        expected, batch = next(threads), next(worker)
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])
    worker.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing --data-dir"),
        (["--data-dir", "x", "--config", "smal"], "there is no --config smal; did you mean small?"),
        (["--data-dir", "/proc/none"], "cannot write in /proc/none: .*; name another --data-dir"),
    ],
)
def test_preparing_goes_wrong(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(arguments) == 2
    assert re.fullmatch(f"error: {message}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tfds:cifar01", "TFDS has no data set of this name; the nearest are .*cifar10"),
        ("tfds:", r"cannot be opened, as tfds:NAME\[/CONFIG\]\[:SPLIT\]: Parsing"),
        ("tfds:no name", "cannot be opened, as tfds:NAME"),
        ("tfds:jepa_sprites/smal", "the data set has no configuration 'smal'; did you mean small?"),
        ("tfds:mnist/big", "the data set has no configuration 'big'; it has none"),
        ("tfds:jepa_sprites/full", r"not prepared in .*: python -m jepa_jax.data.sprites_builder --data-dir DIR --con"),
        ("tfds:mnist", r'tfds.builder\("mnist", data_dir="DIR"\).download_and_prepare\(file_format="array_record"\)'),
        ("tfds:jepa_sprites/small:trian", "there is no split 'trian'; did you mean train?"),
        ("tfds:jepa_sprites/small:train[:200%]", "the split 'train.*' cannot be read"),
        ("tfds:jepa_sprites/small:train[:0]", "has no images in it"),
        ("tfds:imdb_reviews", "has no images: no feature is named image among"),
    ],
)
def test_wrong_tfds(data_dir: Path, spec: str, message: str) -> None:
    refused(spec, options(channels=1), message.replace("DIR", str(data_dir)))


def test_tfds_labels_are_missing(data_dir: Path) -> None:
    refused("tfds:jepa_sprites/small", options(channels=1, labels=True), "has no labels")


@pytest.mark.parametrize(("name", "classes", "sizes"), [("cifar10", 10, (None, 24)), ("imagenet2012", 1000, (32,))])
def test_the_catalogue(name: str, classes: int, sizes: tuple[int | None, ...], data_dir: Path) -> None:
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=12):
        for size in sizes:
            stream = open_stream(f"tfds:{name}", options(size=size, labels=True))
            assert (stream.shape, stream.count, stream.classes) == ((size or 32, size or 32, 3), 12, classes)
            batches = stream.batches()
            epoch = [next(batches) for _ in range(2)]
            assert sorted(np.concatenate([batch["index"] for batch in epoch])) == list(range(12))
            assert epoch[0]["x"].dtype == np.uint8
            assert all(0 <= label < classes for label in epoch[0]["label"])
        some = read_some(f"tfds:{name}:test", 3, size=16, channels=1)
        assert some["x"].shape == (3, 16, 16, 1)


def test_mixed_sizes_in_tfds(data_dir: Path) -> None:
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=12), pytest.raises(ConfigError, match="give a size"):
        take(open_stream("tfds:imagenet2012", options()).batches(), 2)


def test_prepared_by_other_code(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data are read as they lie there: of a version that the code no longer makes, or without any code for them."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for name, version in (("jepa_sprites", "small/0.9.0"), ("their_own", "1.0.0")):
        for file in (prepared / "jepa_sprites/small/1.0.0").iterdir():
            copy = tmp_path / name / version / file.name.replace("jepa_sprites", name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        info = tmp_path / name / version / "dataset_info.json"
        info.write_text(info.read_text().replace("jepa_sprites", name).replace("1.0.0", version[-5:]))
    for spec in ("tfds:jepa_sprites/small:test", "tfds:their_own:test"):
        assert len(read_some(spec, 99, size=None)["log_density"]) == 32


@pytest.mark.parametrize("tensorflow", [False, True])
def test_tfrecord(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorflow: bool) -> None:
    """What only TensorFlow reads is read by it, where it is installed. Here it is not, so its part is played."""
    import tensorflow_datasets as tfds

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    shutil.copytree(prepared, tmp_path / "tfds")
    info = tmp_path / "tfds/jepa_sprites/small/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    kept = [{"image": np.full((4, 4, 3), i, np.uint8), "log_density": np.float32(i)} for i in range(9)]
    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", lambda self, split: iter(kept))
    monkeypatch.setattr(tfds, "as_numpy", lambda dataset: dataset)
    found = types.SimpleNamespace(find_spec=lambda name: name if tensorflow else None)
    monkeypatch.setattr(tfds_records.importlib, "util", found)
    if tensorflow:
        stream = open_stream("tfds:jepa_sprites/small", options())
        assert (stream.count, stream.samples.dataset.in_memory) == (9, True)
    else:
        message = "prepared as tfrecord in .*, which only TensorFlow reads; delete it, then prepare it: python -m jepa"
        refused("tfds:jepa_sprites/small", options(), message)
