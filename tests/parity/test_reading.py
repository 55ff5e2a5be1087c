"""Files of the real torch are read as torch reads them, and torch reads the files that the tests write by hand."""

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.reading import open_weights
from tests.helpers.foreign import STORAGES, Parameter, save_torch_zip

torch = pytest.importorskip("torch")


def numbers(tensor: Any) -> np.ndarray:
    """A tensor as an array; bfloat16, which torch does not hand to NumPy, by its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


X = torch.arange(24.0).reshape(2, 3, 4)


def trees() -> dict[str, Any]:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(3, 3))
    model[0].to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return {
        "dict": {"x": X, "y": torch.tensor(3.0), "z": torch.zeros(0, 3)},
        "state dict": model.state_dict(),
        "parameters": dict(model.named_parameters()),
        "checkpoint": {
            "encoder": model.state_dict(),
            "target_encoder": OrderedDict((f"module.{k}", v) for k, v in model.state_dict().items()),
            "opt": optimizer.state_dict(),
            "scaler": None,
            "epoch": 3,
            "loss": np.float64(0.5),
            "device": torch.device("cpu"),
            "dtype": torch.bfloat16,
            "size": X.shape,
        },
        "dtypes": {name: X.to(getattr(torch, name)) for name in STORAGES},
        "views": {"t": X.permute(2, 0, 1), "s": X[:, 1:, ::2], "e": X[:1, :1].expand(5, 3, 4), "f": X[1, 2, 3]},
    }


@pytest.mark.parametrize("name", list(trees()))
def test_files_of_torch(tmp_path: Path, name: str) -> None:
    tree = trees()[name]
    torch.save(tree, tmp_path / "a.pth")
    groups = open_weights(tmp_path / "a.pth").groups
    expected = {"": tree} if name != "checkpoint" else {key: tree[key] for key in ("encoder", "target_encoder")}
    assert {key: list(group) for key, group in groups.items()} == {key: list(group) for key, group in expected.items()}
    for key, group in groups.items():
        for entry, tensor in group.items():
            array = numbers(expected[key][entry])
            assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(tensor.read(), array, err_msg=entry)


def test_hand_written_files(tmp_path: Path) -> None:
    """Torch's safe loader reads them, and for the same tree torch writes the same entries."""
    x = X.numpy()
    arrays = {"x": x, "t": x.T, "s": x[:, 1:, ::2], "f": np.asfortranarray(x), "p": Parameter(x[0])}
    arrays |= {name: x.astype(getattr(ml_dtypes, name, name)) for name in STORAGES}
    save_torch_zip(tmp_path / "a.pth", {"model": OrderedDict(arrays), "epoch": 3})
    for options in ({}, {"mmap": True}):
        loaded = torch.load(tmp_path / "a.pth", weights_only=True, **options)
        assert isinstance(loaded["model"].pop("p"), torch.nn.Parameter)
        for name, tensor in loaded["model"].items():
            np.testing.assert_array_equal(numbers(tensor), arrays[name], err_msg=name)
    torch.save(torch.load(tmp_path / "a.pth", weights_only=True), tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as ours, zipfile.ZipFile(tmp_path / "b.pth") as theirs:
        for entry in ours.namelist():
            if "/data/" in entry or entry.endswith(("byteorder", "version")):
                assert theirs.read(entry.replace("archive", "b", 1)) == ours.read(entry)


class Model(torch.nn.Module):
    pass


def test_files_of_torch_that_are_refused(tmp_path: Path) -> None:
    torch.save({"x": X}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(Model(), tmp_path / "model.pth")
    torch.save({"x": X.to(torch.complex64)}, tmp_path / "complex.pth")
    torch.save({"x": X.to_sparse()}, tmp_path / "sparse.pth")
    for name, words in {
        "legacy": r"before 1\.6",
        "model": "objects such as .*Model, whose code is not run",
        "complex": "objects such as torch.ComplexFloatStorage",
        "sparse": "objects such as torch._utils._rebuild_sparse_tensor",
    }.items():
        with pytest.raises(ConfigError, match=words):
            open_weights(tmp_path / f"{name}.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    """A scripted and a traced module have the names of their state dict; nothing of their code is needed."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.BatchNorm1d(4))).eval()
    for name, module in {"s": torch.jit.script(model), "t": torch.jit.trace(model.half(), X[0].half())}.items():
        torch.jit.save(module, tmp_path / f"{name}.pt")
        groups = open_weights(tmp_path / f"{name}.pt").groups
        assert groups.keys() == {""}
        assert groups[""].keys() == module.state_dict().keys()
        for key, tensor in groups[""].items():
            np.testing.assert_array_equal(tensor.read(), numbers(module.state_dict()[key]), err_msg=key)
