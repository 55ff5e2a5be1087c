"""Streams of images: shuffled, divided, resumed; and every way in which folders and arrays can be wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax import config as cfg
from jepa_jax.data import open_source
from jepa_jax.data.streaming import from_stream, open_stream, read_some
from jepa_jax.errors import ConfigError
from tests.helpers.streams import options, refused, take

COUNT = 30


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
    assert said.endswith("the first is a/04.png: not in a supported image format")


def test_labels_are_the_first_folders(tmp_path: Path) -> None:
    for name in ("z/1.png", "b/deep/2.png", "b/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    some = read_some(str(tmp_path), 9, size=None, labels=True)
    assert some["label"].tolist() == [-1, 0, 0, 1]  # 4.png, b/3.png, b/deep/2.png, z/1.png
    assert open_stream(str(tmp_path / "z"), options(1)).classes is None
    with pytest.raises(ConfigError, match="z has no labels; they are the first level of folders in a folder"):
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
    with pytest.raises(ConfigError, match=r"set `data\.size`"):
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


def test_a_limit_of_pixels(tmp_path: Path) -> None:
    for name, side in (("a", 9), ("b", 9), ("c", 20)):
        Image.new("L", (side, side), ord(name)).save(tmp_path / f"{name}.png")
    data = cfg.Data(str(tmp_path), size=8, batch_size=3)
    for limit, said in ((None, None), (100, "the first is c.png: the picture has 20 x 20 = 400 pixels")):
        source = open_source(replace(data, max_pixels=limit))
        assert source.batches is not None
        batches = source.batches()
        take(batches, 1)
        told = batches.unreadable()
        assert (told is None) if said is None else (said in str(told) and "--data.max-pixels of train" in str(told))
        assert len(source.probe(9).x) == (3 if said is None else 2)
    with pytest.raises(ConfigError, match=r"`data\.max_pixels` is 0; it must be at least 1"):
        replace(data, max_pixels=0)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 62, "processes": 31}, "has 30 images, fewer than the 31 processes"),
        ({"batch_size": 0}, "the batch size is 0; it must be positive"),
        ({"processes": 4}, "a batch of 6 cannot be divided among 4 processes; use a multiple"),
        ({"process": 2, "processes": 2}, "process 2 of 2"),
        ({"size": 0}, "the size of images is 0"),
        ({"workers": -1}, "the number of workers is -1"),
        ({"channels": 2}, "x.npz: image 0 has 3 channels, which cannot be converted to 2"),
    ],
)
def test_wrong_options(arrays: str, changes: dict[str, Any], message: str) -> None:
    refused(arrays, options(**changes), message)


def test_wrong_folders(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), options(), "empty has no images in it")
    refused(
        str(tmp_path / "none"), options(), "unknown data '.*none': it does not exist, and it is not a world, digits"
    )
    refused(folder, options(channels=4), "cannot be read in 4 channels; use 3 for colour or 1 for grey")
    with pytest.raises(ConfigError, match=r"image \d+ has \d+ x \d+ pixels and another has 8 x 8; set `data\.size`"):
        take(open_stream(folder, options()).batches(), 5)
    for name in "ab":
        (tmp_path / "empty" / f"{name}.png").touch()
    refused(str(tmp_path / "empty"), options(2), "none of 2 images can be read; b.png: the file is empty")


def test_wrong_arrays(tmp_path: Path) -> None:
    x = np.zeros((9, 4, 4, 3), np.float32)
    path = str(tmp_path / "x.npz")
    np.savez(path, x=x[:, 0, 0])
    refused(path, options(), r"a sample has shape \[3\]; a stream needs images")
    np.savez(path, x=x, pair=x)
    refused(path, options(), "has pairs, but a stream reads single images")
    np.savez(path, x=x, held_out=np.arange(9) > 4, condition=np.ones((9, 2)))
    refused(path, options(), "has condition and held_out, which a stream does not read")
    np.savez(path, x=x)
    refused(path, options(labels=True), r"x.npz has no labels; .* the array label \[N\] in an .npz")
    np.savez(path, x=x, label=np.array([5, -1, 7] * 3))
    assert open_stream(path, options()).classes == 2
    assert read_some(path, 9, size=None)["label"].tolist() == [0, -1, 1] * 3


def test_files_that_are_no_pictures_are_named(folder: str) -> None:
    (Path(folder) / "a" / "notes.txt").write_text("nothing")
    source = from_stream(cfg.Data(folder, 4, size=8), 0, 0, 1)
    assert source.notes == (f"files of {folder} that are no pictures: 1 .txt",)
