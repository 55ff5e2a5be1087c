"""Containers of weights: folders, shards, caches, TorchScript, objects beside the tensors; and damaged ones."""

import datetime
import io
import json
import pathlib
import shutil
import time
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import jepa_jax
from jepa_jax.errors import ConfigError
from jepa_jax.loading import fingerprint
from jepa_jax.pretrained import Options, convert, torch_pickle, torch_zip
from jepa_jax.pretrained.reading import open_weights
from jepa_jax.run_dir import kind_of
from tests.helpers import GOLDEN
from tests.helpers.foreign import (
    SCRIPT,
    Claim,
    Global,
    Instance,
    Storage,
    X,
    raises_one_line,
    save_torch_zip,
    scripted,
)


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path) if path.name.endswith(".safetensors") else save_torch_zip(path, tensors)


# Folders.


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["dino.pth"], "dino.pth"),
        (["vit.pth.tar"], "vit.pth.tar"),
        (
            ["last.ckpt", "optimizer.pt", "rng_state_0.pth", "training_args.bin", ".hidden.pth", "notes.txt"],
            "last.ckpt",
        ),
        (["model.fp16.safetensors"], "model.fp16.safetensors"),
        (["model.fp16.safetensors", "model.safetensors"], "model.safetensors"),
        (["pytorch_model.fp16.bin", "model.fp16.safetensors", "head.pt"], "model.fp16.safetensors"),
        (["weights.safetensors", "weights.bin"], "weights.safetensors"),
        (["a.pth", "pytorch_model.bin"], "pytorch_model.bin"),
    ],
)
def test_the_file_in_a_folder(files: list[str], taken: str, tmp_path: Path) -> None:
    for name in files:
        save(tmp_path / name, {"x": X})
    assert open_weights(tmp_path).files == (tmp_path / taken,)
    assert kind_of(tmp_path) == "foreign"


def test_the_name_of_a_file_tells_what_its_folder_does_not(tmp_path: Path) -> None:
    """MetaCLIP's `altogether` has another activation than its other files, which only the name says."""
    shutil.copy(GOLDEN / "metaclip_pt" / "b32_400m.pt", tmp_path / "h14_v1.2_altogether.pt")
    assert convert(tmp_path, Options(heads=2)).config.mlp == "gelu"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["b.pth", "a.pth"], r"holds several files of weights; name one: a\.pth, b\.pth$"),
        (["model.fp16.safetensors", "model.bf16.safetensors"], r"name one: model\.bf16\.safetensors, model\.fp16\.s"),
        ([f"{i}.pt" for i in range(7)], "0.pt, 1.pt, 2.pt, 3.pt, 4.pt and 2 more"),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], "shards without their index"),
        (["vision/model.safetensors", "text/model.safetensors", "empty"], "name a folder in it: text, vision; looked"),
        (
            ["models--a--b/snapshots/1/model.safetensors", "models--a--c/x"],
            "several models; name one: models--a--b, mo",
        ),
        (["snapshots/1/model.safetensors", "snapshots/2/model.safetensors"], "several snapshots.*name one: .*1.*2"),
    ],
)
def test_a_folder_that_does_not_tell(files: list[str], words: str, tmp_path: Path) -> None:
    for name in files:
        save(tmp_path / name, {"x": X}) if "." in name else (tmp_path / name).parent.mkdir(exist_ok=True)
    raises_one_line(tmp_path, words)


@pytest.mark.parametrize("main", ["2", "../../../elsewhere", None])
@pytest.mark.parametrize("root", ["models--a--b", "."])
def test_the_cache_of_hugging_face(tmp_path: Path, root: str, main: str | None) -> None:
    model = tmp_path / "models--a--b"
    (model / "blobs").mkdir(parents=True)
    save_file({"x": X}, model / "blobs" / "aa11")
    for revision in ("1", "2") if main == "2" else ("2",):
        (model / "snapshots" / revision).mkdir(parents=True)
        (model / "snapshots" / revision / "model.safetensors").symlink_to("../../blobs/aa11")
    if main:
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text(main)
    assert open_weights(tmp_path / root).files == (model / "snapshots" / "2" / "model.safetensors",)
    assert kind_of(tmp_path / root) == "foreign"


@pytest.mark.parametrize(
    "index", ["model.safetensors.index.json", "pytorch_model.bin.index.json", "model.safetensors.index.fp16.json"]
)
def test_shards_in_a_folder(tmp_path: Path, index: str) -> None:
    places = {"a": "shards/m-00001-of-00002.bin", "b": "shards/m-00002-of-00002.safetensors"}
    for key, place in places.items():
        save(tmp_path / place, {key: X})
    (tmp_path / index).write_text(json.dumps({"weight_map": places}))
    for path in (tmp_path, tmp_path / index):
        weights = open_weights(path)
        assert weights.files == tuple(tmp_path / place for place in places.values())
        assert list(weights.groups[""]) == ["a", "b"]
    before = fingerprint(tmp_path)
    save(tmp_path / places["b"], {"b": X, "c": X})
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("place", ["../x.bin", "/x.bin", "shards/../../x.bin", "shards\\x.bin", "shards", "x\n.bin"])
def test_shards_stay_in_the_folder(tmp_path: Path, place: str) -> None:
    save(tmp_path / "x.bin", {"a": X})
    folder = tmp_path / "model"
    (folder / "shards").mkdir(parents=True)
    place = str(tmp_path / "x.bin") if place == "/x.bin" else place
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": place}}))
    raises_one_line(folder, "which is not beside it")


# TorchScript.


def test_a_module_of_torchscript_is_its_state_dict(tmp_path: Path) -> None:
    golden = GOLDEN / "metaclip_pt" / "b32_400m.pt"
    groups = open_weights(golden).groups
    tensors = {key: np.array(t.read()) for group in groups.values() for key, t in group.items()}
    save_torch_zip(tmp_path / "b32_400m.pt", scripted(tensors), SCRIPT)
    read = open_weights(tmp_path / "b32_400m.pt").groups
    assert {key: tensor.shape for key, tensor in read[""].items()} == {key: a.shape for key, a in tensors.items()}
    found, whole = (jepa_jax.load(path, heads=2) for path in (tmp_path / "b32_400m.pt", golden))
    x = np.ones((16, 16, 3), np.float32)
    np.testing.assert_array_equal(found(x), whole(x))


def test_other_objects_have_no_attributes(tmp_path: Path) -> None:
    """A pickled module of a class of its own: to read its names is to trust that class."""
    save_torch_zip(tmp_path / "a.pt", {"model": Instance(Global("mine", "Model"), {"x": X}), "x": X})
    weights = open_weights(tmp_path / "a.pt")
    assert list(weights.groups) == [""]
    assert weights.others == {"model": "mine.Model"}


# Objects beside the weights.


class Attributes(OrderedDict):
    """A subclass of a dict, as configurations and state dicts of some trainers are."""


def test_bystanders(tmp_path: Path) -> None:
    groups = defaultdict(list)
    groups["decay"].append("weight")
    marks: Any = {
        "config": Instance(Global("omegaconf.dictconfig", "DictConfig"), {"_content": {"x": X}, "_parent": None}),
        "folder": pathlib.PurePosixPath("a/b"),
        "elapsed": datetime.timedelta(1),
        "groups": groups,
        "names": {"a", "b"},
        "range": range(3),
        "complex": 1j,
        "numbers": np.float64(1.0),
        "when": datetime.datetime(2026, 1, 1),
        "counts": Counter("ab"),
        datetime.timedelta(2): "an object as a key",
    }
    save_torch_zip(tmp_path / "a.ckpt", marks | {"state_dict": Attributes(x=X), "y": X + 1})
    weights = open_weights(tmp_path / "a.ckpt")
    assert {group: list(tensors) for group, tensors in weights.groups.items()} == {"": ["y"], "state_dict": ["x"]}
    np.testing.assert_array_equal(weights.groups["state_dict"]["x"].read(), X)
    assert weights.others["config"] == "omegaconf.dictconfig.DictConfig"
    assert weights.others["elapsed"] == "datetime.timedelta"


@pytest.mark.parametrize("kind", ["ComplexFloatStorage", "QInt8Storage"])
def test_numbers_that_are_not_read_are_named(tmp_path: Path, kind: str) -> None:
    save_torch_zip(tmp_path / "a.pth", {"x": X, "y": Claim(Storage(kind, "0", 3), 0, (3,), (1,))})
    weights = open_weights(tmp_path / "a.pth")
    assert (list(weights.groups[""]), weights.others) == (["x"], {"y": f"torch.{kind}"})


# Files that would take too much.


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02" + b"}" * 200_000 + b".", "has more than 100000 steps"),
        (b"\x80\x02" + b"".join(b"ca\n%d\n" % i for i in range(2000)) + b".", "has more than 1000 names"),
        (b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.", "holds more names"),  # a dict in itself
        (b"\x80\x02}X" + (2000).to_bytes(4, "little") + b"a" * 2000 + b"K\x01s.", "holds more names, or longer ones"),
    ],
)
def test_a_pickle_larger_than_weights_need(
    tmp_path: Path, data: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_pickle, "MAX_STEPS", 100_000)
    monkeypatch.setattr(torch_pickle, "MAX_NAMES", 1000)
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", data)
    raises_one_line(tmp_path / "a.pth", words)


def test_dicts_that_share_dicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty dicts, each twice in the next one: a trillion names."""
    monkeypatch.setattr(torch_zip, "MAX_ENTRIES", 10_000)
    tree: dict[str, Any] = {"x": X}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    save_torch_zip(tmp_path / "a.pth", tree)
    raises_one_line(tmp_path / "a.pth", "holds more names")


def test_a_tensor_that_repeats_its_numbers(tmp_path: Path) -> None:
    groups = open_weights(GOLDEN / "dinov2_meta" / "dinov2_pretrain.pth").groups
    tensors: dict[str, Any] = {key: np.array(t.read()) for key, t in groups[""].items()}
    tensors["pos_embed"] = np.broadcast_to(np.ones(1, np.float32), (1, 2**30 + 1, 16))
    save_torch_zip(tmp_path / "a.pth", tensors)
    with pytest.raises(ConfigError, match="they repeat their numbers"):
        jepa_jax.load(tmp_path / "a.pth", heads=2)


# Damaged files.


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file that was cut short, or of which some bytes were changed."""
    if rng.random() < 0.3:
        return data[: rng.integers(len(data))]
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def examples(folder: Path) -> dict[str, Path]:
    """Write a valid file of each container, and return the file to damage by the path to open."""
    tree = {"model": OrderedDict(a=X, b=X.T), "config": Instance(Global("a", "B"), {"c": 1}), "n": np.float64(1)}
    save_torch_zip(folder / "a.pth", tree)
    save_torch_zip(folder / "a.pt", scripted({"v.a": X, "v.b.c": X, "d": X}), SCRIPT)
    save(folder / "s" / "one.safetensors", {"a": X, "b": X + 1})
    (folder / "s" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    return {
        "a.pth": folder / "a.pth",
        "a.pt": folder / "a.pt",
        "s": folder / "s" / "one.safetensors",
        "s/model.safetensors.index.json": folder / "s" / "model.safetensors.index.json",
    }


def with_pickle(archive: Path, rng: np.random.Generator) -> bytes:
    """Return a whole archive with a damaged pickle, which its checksum would otherwise notice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, damaged(data, rng) if name.endswith("data.pkl") else data)
    return buffer.getvalue()


@pytest.mark.parametrize("path", ["a.pth", "a.pt", "s", "s/model.safetensors.index.json"])
def test_a_damaged_file_is_an_error_of_one_line_or_read(tmp_path: Path, path: str) -> None:
    file = examples(tmp_path)[path]
    whole = file.read_bytes()
    for seed in range(500):
        rng, start = np.random.default_rng(seed), time.perf_counter()
        file.write_bytes(whole)
        file.write_bytes(with_pickle(file, rng) if path.startswith("a.") and seed % 2 else damaged(whole, rng))
        message = "read"
        try:
            groups = open_weights(tmp_path / path).groups
            for tensor in (tensor for group in groups.values() for tensor in group.values()):
                tensor.read().tobytes()
        except ConfigError as error:
            message = str(error)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert message.isprintable(), f"seed {seed}: {message!r}"
        assert time.perf_counter() - start < 5, f"seed {seed}"
