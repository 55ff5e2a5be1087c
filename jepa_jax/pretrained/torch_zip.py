"""The state dicts of a file that torch.save wrote: a zip with a pickle, and a stored entry for each storage."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import torch_pickle
from jepa_jax.pretrained.tensor import DTYPES, Tensor, mapped, tensor
from jepa_jax.pretrained.torch_pickle import Storage, View

LARGEST_PICKLE = 100_000_000  # bytes; a model of a billion parameters has a few hundred thousand


def groups(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in the file: "" for a bare one, else those one level below the top, by key.

    Optimiser states, epochs and the like are passed over, and so are their bytes.

    Raises:
      ConfigError: the archive is of another kind, or asks for what is not allowed. A damaged one can raise anything.
    """
    with zipfile.ZipFile(path) as archive:
        root = _root(archive, path)
        if f"{root}/byteorder" in archive.namelist() and _small(archive, f"{root}/byteorder", path) != b"little":
            raise ConfigError(f"{path} was saved on a big-endian machine; save it again on a little-endian one")
        tree = torch_pickle.load(_small(archive, f"{root}/data.pkl", path), path)
    buffer = mapped(path)

    def stored(key: str) -> memoryview:
        return _stored(archive.getinfo(f"{root}/data/{key}"), buffer)

    return {
        group: {name: tensor(_view(value, stored)) for name, value in views.items()}
        for group, views in _state_dicts(tree).items()
    }


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder inside the archive that holds everything; refuses what torch.save did not write."""
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise ConfigError(f"{path} is a zip, but not of torch.save; unpack it, or name the file of weights")
    root = roots[0]
    if f"{root}/constants.pkl" in names or any(name.startswith(f"{root}/code/") for name in names):
        raise ConfigError(f"{path} is a TorchScript archive; load it with torch.jit.load and save its state_dict()")
    return root


def _small(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """An entry that is read whole; a compressed one says before how large it becomes."""
    if archive.getinfo(name).file_size > LARGEST_PICKLE:
        raise ConfigError(f"{name!r} in {path} is over {LARGEST_PICKLE} bytes; save the state_dict() alone")
    return archive.read(name)


def _state_dicts(tree: Any) -> dict[str, dict[str, View]]:
    """The mappings from names to tensors: those below the top, or else the top itself."""
    if not isinstance(tree, dict):
        return {}
    items = dict.items(tree)
    below = {key: dict(dict.items(value)) for key, value in items if isinstance(key, str) and _is_state_dict(value)}
    top = {key: value for key, value in items if isinstance(key, str) and type(value) is View}
    return below or ({"": top} if top else {})


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(name, str) and type(entry) is View for name, entry in dict.items(value))
    )


def _view(view: View, stored: Callable[[str], memoryview]) -> np.ndarray:
    """A tensor's numbers, with every bound checked: a crafted file must not show what is not its own."""
    storage, offset, size, stride = view
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise ValueError("a tensor of no known form")
    if not all(type(number) is int and number >= 0 for number in (storage.count, offset, *size, *stride)):
        raise ValueError("a tensor's place must be made of whole numbers from 0 on")
    dtype = DTYPES[storage.dtype]
    data = stored(storage.key)[: storage.count * dtype.itemsize]
    if len(data) != storage.count * dtype.itemsize:
        raise ValueError("a storage is shorter than it says")
    if 0 in size:
        return np.zeros(size, dtype)
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= storage.count:
        raise ValueError("a tensor reaches outside its storage")
    # The stride of a dimension of one is never used and may be anything.
    strides = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    return np.ndarray(size, dtype, data, offset * dtype.itemsize, strides)


def _stored(entry: zipfile.ZipInfo, buffer: memoryview) -> memoryview:
    """The bytes of an uncompressed entry. Its local header may be longer than the directory's: torch pads it."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError("a storage is compressed or encrypted")
    start = entry.header_offset
    header = buffer[start : start + 30]
    if header[:4] != b"PK\x03\x04":
        raise ValueError("an entry has no header")
    start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return buffer[start : start + entry.file_size]
