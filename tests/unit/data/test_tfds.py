"""Datasets that tensorflow-datasets has prepared."""

import re
import shutil
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from jepa_jax.data import tfds as tfds_records
from jepa_jax.data.sprites_builder.__main__ import main as prepare
from jepa_jax.data.streaming import open_stream, read_some
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import sprites
from tests.helpers.streams import options, refused, take


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
        ("tfds:cifar01", "TFDS has no dataset of this name; the nearest are .*cifar10"),
        ("tfds:", r"cannot be opened as tfds:NAME\[/CONFIG\]\[:SPLIT\]: Parsing"),
        ("tfds:no name", "cannot be opened as tfds:NAME"),
        ("tfds:jepa_sprites/smal", "the dataset has no configuration 'smal'; did you mean small?"),
        ("tfds:mnist/big", "the dataset has no configuration 'big'; it has none"),
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

    with tfds.testing.mock_data(num_examples=12), pytest.raises(ConfigError, match=r"set `data\.size`"):
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
