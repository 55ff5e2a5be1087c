"""Foreign files: what is in them comes out, nothing else is read, and nothing in them runs."""

import argparse
import json
import os
import pickle
import resource
import tarfile
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.reading import open_weights, sha256
from jepa_jax.pretrained.weight_files import WEIGHT_FILE_NAMES
from tests.helpers.foreign import STORAGES, Claim, Global, Parameter, Storage, X, raises_one_line, save_torch_zip

LAYOUTS = {
    "plain": X,
    "transposed": X.transpose(2, 0, 1),
    "fortran": np.asfortranarray(X),
    "own memory in another order": X.transpose(1, 2, 0) + 1,
    "slice": X[:, 1:, ::2],
    "scalar": np.array(3.0),
    "one number of many": X[1, 2, 3:],
    "expanded": np.broadcast_to(X[0, :, :1], (3, 5)),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_torch(tmp_path: Path, name: str) -> None:
    save_torch_zip(tmp_path / "a.pth", {"x": LAYOUTS[name]})
    tensor = open_weights(tmp_path / "a.pth").groups[""]["x"]
    assert tensor.shape == LAYOUTS[name].shape
    np.testing.assert_array_equal(tensor.read(), LAYOUTS[name])


@pytest.mark.parametrize("dtype", STORAGES)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_dtypes(tmp_path: Path, dtype: str, suffix: str) -> None:
    x = (np.arange(6).reshape(2, 3) % 5).astype(getattr(ml_dtypes, dtype, dtype))
    path = tmp_path / f"a.{suffix}"
    save_file({"odd": np.ones(3, np.int8), "x": x}, path) if suffix == "safetensors" else save_torch_zip(path, {"x": x})
    tensor = open_weights(path).groups[""]["x"]
    assert tensor.dtype == tensor.read().dtype == x.dtype
    np.testing.assert_array_equal(tensor.read(), x)
    assert not tensor.read().flags.owndata
    assert not tensor.read().flags.writeable


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    save_file({"x": X}, tmp_path / "a.pth")
    save_torch_zip(tmp_path / "b.safetensors", {"x": X})
    for name in ("a.pth", "b.safetensors"):
        np.testing.assert_array_equal(open_weights(tmp_path / name).groups[""]["x"].read(), X)


def test_views_share_their_storage(tmp_path: Path) -> None:
    save_torch_zip(tmp_path / "a.pth", {"x": X, "y": X[1], "p": Parameter(X[0])})
    x, y, p = (open_weights(tmp_path / "a.pth").groups[""][name].read() for name in "xyp")
    np.testing.assert_array_equal(np.stack([p, y]), x)
    assert (tmp_path / "a.pth").stat().st_size < 2 * X.nbytes + 2000


def test_state_dicts_below_the_top(tmp_path: Path) -> None:
    """As in a checkpoint of training: what is no state dict is passed over, its storages are not even in the file."""
    state = OrderedDict({"module.x": X})
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    tree = {
        "encoder": state,
        "target_encoder": OrderedDict({"module.x": X + 1}),
        "opt": {"state": {0: {"exp_avg": X + 2, "step": np.array(1.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "loss": np.float64(0.5),
        "history": np.float64([1, 2]).tolist(),
        "args": argparse.Namespace(lr=1),
        "milestones": Counter([3, 4]),
        "scaler": None,
        "epoch": 300,
        "where": (Global("torch", "float32"), Global("torch", "bfloat16")),
    }
    save_torch_zip(tmp_path / "a.pth.tar", tree, {"data/2": None, "data/3": None})
    groups = open_weights(tmp_path / "a.pth.tar").groups
    assert {key: list(group) for key, group in groups.items()} == {
        "encoder": ["module.x"],
        "target_encoder": ["module.x"],
    }
    np.testing.assert_array_equal(groups["target_encoder"]["module.x"].read(), X + 1)


@pytest.mark.parametrize("save", [save_torch_zip, lambda path, tree: save_file(tree, path)])
def test_opening_does_not_read(tmp_path: Path, save: Callable[[Path, Any], None]) -> None:
    """What is written into the file after it was opened is what comes out."""
    save(tmp_path / "a", {"x": X})
    tensor = open_weights(tmp_path / "a").groups[""]["x"]
    place = (tmp_path / "a").read_bytes().index(X.tobytes())
    with (tmp_path / "a").open("r+b") as file:
        file.seek(place)
        file.write((X + 5).tobytes())
    np.testing.assert_array_equal(tensor.read(), X + 5)


def sparse_safetensors(path: Path, count: int) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 4 * count)


def sparse_torch_zip(path: Path, count: int) -> None:
    save_torch_zip(path, {"x": Claim(Storage("FloatStorage", "0", count), 0, (count,), (1,))})
    with zipfile.ZipFile(path, "a") as archive:
        assert archive.fp is not None
        entry = zipfile.ZipInfo("archive/data/0")
        entry.file_size = entry.compress_size = 4 * count
        entry.CRC, entry.header_offset = 0, archive.start_dir
        archive.fp.seek(archive.start_dir)
        archive.fp.write(entry.FileHeader())
        archive.start_dir = archive.fp.seek(4 * count, os.SEEK_CUR)
        archive.filelist.append(entry)
        archive.writestr("archive/last", b"")


@pytest.mark.parametrize("make", [sparse_safetensors, sparse_torch_zip])
def test_a_file_larger_than_memory_should_be(tmp_path: Path, make: Callable[[Path, int], None]) -> None:
    """Three gigabytes, none of them on the disk: they would show if they were read."""
    count = 3 << 28
    make(tmp_path / "a", count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensor = open_weights(tmp_path / "a").groups[""]["x"]
    assert tensor.shape == (count,)
    assert tensor.read()[-3:].tolist() == [0, 0, 0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


# Hugging Face directories.


def shards(folder: Path, places: Any = None) -> Path:
    folder.mkdir()
    save_file({"a": X, "b": X + 1}, folder / "one.safetensors")
    save_file({"c": X + 2}, folder / "two.safetensors")
    places = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"} if places is None else places
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize("name", [name for name in WEIGHT_FILE_NAMES if not name.endswith("json")])
def test_a_directory(tmp_path: Path, name: str) -> None:
    save_torch_zip(tmp_path / name, {"x": X}) if name.endswith("bin") else save_file({"x": X}, tmp_path / name)
    weights = open_weights(str(tmp_path))
    assert (weights.path, weights.files) == (tmp_path, (tmp_path / name,))
    np.testing.assert_array_equal(weights.groups[""]["x"].read(), X)
    assert weights.config is None
    assert weights.preprocessor is None


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    for name in WEIGHT_FILE_NAMES:
        save_file({"x": X}, tmp_path / name)
    assert open_weights(tmp_path).files == (tmp_path / "model.safetensors",)


def test_shards(tmp_path: Path) -> None:
    folder = shards(tmp_path / "model")
    weights = open_weights(folder)
    assert weights.files == (folder / "one.safetensors", folder / "two.safetensors")
    for i, name in enumerate("abc"):
        np.testing.assert_array_equal(weights.groups[""][name].read(), X + i)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"a": "three.safetensors"}, "names the shard 'three.safetensors', which is not beside it"),
        ({"a": "../a.safetensors"}, "names the shard '../a.safetensors', which is not beside it"),
        ({"a": ".."}, "which is not beside it"),
        ({"a": ""}, "which is not beside it"),
        ({"a": "one.safetensors\0"}, "which is not beside it"),
        ({"z": "one.safetensors"}, "names the tensor 'z', which is in no shard"),
        ({"a": "one.safetensors", "b": "same.safetensors"}, "tensor 'a' is in .* and in another shard"),
        ({"a": 3}, "has no weight_map"),
        ([], "has no weight_map"),
        ({}, "holds no tensors"),
    ],
)
def test_a_wrong_index(tmp_path: Path, places: Any, words: str) -> None:
    folder = shards(tmp_path / "model", places)
    save_file({"a": X}, tmp_path / "a.safetensors")
    save_file({"a": X}, folder / "same.safetensors")
    raises_one_line(folder, words)


CONFIG, OPEN_CLIP, OTHER = {"model_type": "ijepa"}, {"model_cfg": {}}, {"steps": 3}


@pytest.mark.parametrize(
    ("weights", "beside", "expected"),
    [
        ("model.safetensors", {"config.json": CONFIG}, CONFIG),
        ("model.safetensors", {"config.json": OTHER}, OTHER),
        ("model.safetensors", {"config.json": CONFIG, "open_clip_config.json": OPEN_CLIP}, CONFIG),
        ("model.safetensors", {"open_clip_config.json": OPEN_CLIP}, OPEN_CLIP),
        ("open_clip_model.safetensors", {"config.json": CONFIG, "open_clip_config.json": OPEN_CLIP}, OPEN_CLIP),
        ("pytorch_model.bin", {"config.json": CONFIG}, CONFIG),
        ("pytorch_model.bin", {"config.json": OTHER}, None),
        ("pytorch_model.bin", {"config.json": OTHER, "open_clip_config.json": OPEN_CLIP}, OPEN_CLIP),
        ("pytorch_model.bin", {}, None),
    ],
)
def test_the_config_beside_a_file(tmp_path: Path, weights: str, beside: dict[str, Any], expected: Any) -> None:
    path = tmp_path / weights
    save_torch_zip(path, {"x": X}) if weights.endswith("bin") else save_file({"x": X}, path)
    for name, tree in (beside | {"preprocessor_config.json": {"size": 224}}).items():
        (tmp_path / name).write_text(json.dumps(tree))
    assert open_weights(path).config == expected
    assert open_weights(path).preprocessor == {"size": 224}


@pytest.mark.parametrize("weights", [WEIGHT_FILE_NAMES[0], WEIGHT_FILE_NAMES[-2]])
def test_the_config_of_a_directory(tmp_path: Path, weights: str) -> None:
    """Whatever it says, it is about the weights."""
    save_file({"x": X}, tmp_path / weights)
    (tmp_path / "config.json").write_text(json.dumps(OTHER))
    assert open_weights(tmp_path).config == OTHER


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": ', "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
        (b"[" * 10**5, "is not JSON"),
        (b"[]", "not a list"),
    ],
)
def test_damaged_json(tmp_path: Path, name: str, text: bytes, words: str) -> None:
    folder = shards(tmp_path / "model")
    (folder / name).write_bytes(text)
    raises_one_line(folder, f"{name} .*{words}")


# Files that are no weights.


LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither safetensors nor a zip"),
        (b"hello", "neither safetensors nor a zip"),
        (pickle.dumps({"x": 1}), "neither safetensors nor a zip"),
        (LEGACY, r"before 1\.6; load it and torch\.save it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"PK\x03\x04 and no more", "truncated or damaged"),
        (b"\xff" * 8 + b"{", "truncated or damaged"),
        (b"\x02" + b"\0" * 7 + b"{}", "holds no tensors"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    raises_one_line(tmp_path / "a.pth", words)


def test_other_archives(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(Path(__file__), "storages")
    raises_one_line(tmp_path / "a.tar", "is a tar archive")
    np.savez(tmp_path / "a.npz", x=X)
    raises_one_line(tmp_path / "a.npz", r"is a zip, but not of torch\.save")


def test_other_paths(tmp_path: Path) -> None:
    for name in ("a.pth", "a" * 5000):
        raises_one_line(tmp_path / name, "does not exist")
    raises_one_line(tmp_path, r"holds no weights; looked for model\.safetensors, ")
    os.mkfifo(tmp_path / "pipe")
    raises_one_line(tmp_path / "pipe", "not a regular file")


@pytest.mark.parametrize(
    ("tree", "entries", "words"),
    [
        ({"x": X}, {"byteorder": b"big"}, "big-endian"),
        ({"x": X}, {"byteorder": None}, None),
        ({"x": X}, {"data.pkl": None}, r"not of torch\.save"),
        ({"x": X}, {"data.pkl": b""}, "truncated or damaged"),
        ({"x": X}, {"data.pkl": b"\x80\x02}"}, "truncated or damaged"),
        ({"x": X}, {"data.pkl": b"\x80\x02X\x02\x00\x00\x00\xff\xff."}, "truncated or damaged"),
        ({"x": X}, {"data.pkl": b"\x80\x02ctorch\nfloat32\nN}X\x03\0\0\0a\nbK\x01s\x86b."}, "truncated or damaged"),
        ({"x": X}, {"data/0": None}, "truncated or damaged"),
        ({"x": X}, {"data/0": X.tobytes()[:-1]}, "shorter than its stated size"),
        ({"epoch": 3, "opt": {"state": {0: {"x": X}}}}, {}, "holds no tensors"),
        ({3: X}, {}, "holds no tensors"),
        ([X], {}, "holds no tensors"),
        ({}, {}, "holds no tensors"),
    ],
)
def test_odd_archives(tmp_path: Path, tree: Any, entries: dict[str, bytes | None], words: str | None) -> None:
    save_torch_zip(tmp_path / "a.pth", tree, entries)
    if words is None:
        open_weights(tmp_path / "a.pth")
    else:
        raises_one_line(tmp_path / "a.pth", words)


def test_a_compressed_storage(tmp_path: Path) -> None:
    save_torch_zip(tmp_path / "a.pth", {"x": X})
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as archive,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as compressed,
    ):
        for name in archive.namelist():
            compressed.writestr(name, archive.read(name))
    raises_one_line(tmp_path / "b.pth", "compressed")


@pytest.mark.parametrize("save", [save_torch_zip, lambda path, tree: save_file(tree, path)])
def test_a_truncated_file(tmp_path: Path, save: Callable[[Path, Any], None]) -> None:
    save(tmp_path / "a", {"x": X, "y": X})
    data = (tmp_path / "a").read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "b").write_bytes(data[:length])
        raises_one_line(tmp_path / "b", "damaged|neither")


@pytest.mark.parametrize("chunk", range(5))
def test_damaged_files(tmp_path: Path, chunk: int) -> None:
    """Whatever a changed byte does, it is one line, or numbers that can be read."""
    for seed in range(60 * chunk, 60 * (chunk + 1)):
        try:
            read_a_damaged_file(tmp_path, seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def read_a_damaged_file(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree = {"x": X, "y": X.T, "p": Parameter(X[0]), "n": OrderedDict(loss=np.float64(1))}
    save_torch_zip(tmp_path / "a", tree) if seed % 3 else save_file({"x": X, "y": X + 1}, tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    for place in rng.integers(0, len(data), 3):
        data[place] = rng.integers(256)
    if seed % 3 == 1:  # the archive is whole and the pickle damaged, which its checksum would otherwise notice
        with zipfile.ZipFile(tmp_path / "a") as archive:
            data = bytearray(archive.read("archive/data.pkl"))
        data[rng.integers(len(data))] = rng.integers(256)
        save_torch_zip(tmp_path / "a", tree, {"data.pkl": bytes(data)})
    else:
        (tmp_path / "a").write_bytes(data)
    try:
        weights = open_weights(tmp_path / "a")
    except ConfigError:
        raises_one_line(tmp_path / "a", "a")
    else:
        for tensor in (tensor for group in weights.groups.values() for tensor in group.values()):
            tensor.read().tobytes()


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
