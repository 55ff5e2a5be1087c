"""State dicts of a file of torch.save: a zip archive with a pickle, and an uncompressed entry for each storage."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import torch_pickle
from jepa_jax.pretrained.tensor import DTYPES, Tensor, mapped, tensor
from jepa_jax.pretrained.torch_pickle import Storage, View

MAX_PICKLE_BYTES = 100_000_000  # the pickle of a model with a billion parameters has a few hundred thousand bytes


def groups(path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts in a file: those one level below the top by key, or else the top itself as "".

    Other content, such as optimiser states and epochs, is skipped, and its bytes are not read.

    Raises:
      ConfigError: If the archive is of another kind, or its pickle names something that is not allowed. A damaged
        archive may raise any exception.
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
    """Return the top folder inside the archive; refuse an archive that torch.save did not write."""
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise ConfigError(f"{path} is a zip, but not of torch.save; unpack it, or name the file of weights")
    root = roots[0]
    if f"{root}/constants.pkl" in names or any(name.startswith(f"{root}/code/") for name in names):
        raise ConfigError(f"{path} is a TorchScript archive; load it with torch.jit.load and save its state_dict()")
    return root


def _small(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Read a whole entry, after a check of its size, which a compressed entry also states."""
    if archive.getinfo(name).file_size > MAX_PICKLE_BYTES:
        raise ConfigError(f"{name!r} in {path} has more than {MAX_PICKLE_BYTES} bytes; save only the state_dict()")
    return archive.read(name)


def _state_dicts(tree: Any) -> dict[str, dict[str, View]]:
    """Return the mappings from names to tensors: those below the top, or else the top itself."""
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
    """Return the numbers of a tensor; all bounds are checked, so that no file can expose memory beyond its storage."""
    storage, offset, size, stride = view
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise ValueError("a tensor has an unknown form")
    if not all(type(number) is int and number >= 0 for number in (storage.count, offset, *size, *stride)):
        raise ValueError("the storage size, offset, shape and strides of a tensor must be non-negative integers")
    dtype = DTYPES[storage.dtype]
    data = stored(storage.key)[: storage.count * dtype.itemsize]
    if len(data) != storage.count * dtype.itemsize:
        raise ValueError("a storage is shorter than its stated size")
    if 0 in size:
        return np.zeros(size, dtype)
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= storage.count:
        raise ValueError("a tensor reaches outside its storage")
    # The stride of a dimension of size one is never used and may have any value.
    strides = [step * dtype.itemsize if n > 1 else 0 for n, step in zip(size, stride, strict=True)]
    return np.ndarray(size, dtype, data, offset * dtype.itemsize, strides)


def _stored(entry: zipfile.ZipInfo, buffer: memoryview) -> memoryview:
    """Return the bytes of an uncompressed entry, whose local header torch pads beyond its size in the directory."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError("a storage is compressed or encrypted")
    start = entry.header_offset
    header = buffer[start : start + 30]
    if header[:4] != b"PK\x03\x04":
        raise ValueError("an entry has no header")
    start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return buffer[start : start + entry.file_size]
