"""Tensors of a file of torch.save or torch.jit.save: a zip archive with a pickle, and an entry for each storage."""

import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import torch_pickle
from jepa_jax.pretrained.tensor import DTYPES, Contents, Tensor, mapped, tensor
from jepa_jax.pretrained.torch_pickle import Storage, View

MAX_PICKLE_BYTES = 100_000_000  # the pickle of a model with a billion parameters has a few hundred thousand bytes
# Bounds on dicts inside dicts, which a pickle may also put into themselves.
MAX_DEPTH = 64
MAX_ENTRIES = 1_000_000
MAX_KEY_LENGTH = 1000


def contents(path: Path) -> Contents:
    """Return the tensors in a file by the dict that holds them, and what else these dicts hold.

    A module of TorchScript has one group, with the names of its state dict. Tensors with other keys than strings, such
    as those of an optimizer, are skipped. No bytes of tensors are read.

    Raises:
      ConfigError: If the archive is of another kind, or larger than weights need. A damaged archive may raise any
        exception.
    """
    with zipfile.ZipFile(path) as archive:
        root, scripted = _root(archive, path)
        if f"{root}/byteorder" in archive.namelist() and _small(archive, f"{root}/byteorder", path) != b"little":
            raise ConfigError(f"{path} was saved on a big-endian machine; save it again on a little-endian one")
        tree = torch_pickle.load(_small(archive, f"{root}/data.pkl", path), path)
    buffer = mapped(path)

    def stored(key: str) -> memoryview:
        return _stored(archive.getinfo(f"{root}/data/{key}"), buffer)

    groups: dict[str, dict[str, Tensor]] = {}
    others = {}
    for group, name, value in _entries(tree, path):
        if _is_tensor(value):
            if scripted:
                group, name = "", join(group, name)
            groups.setdefault(group, {})[name] = tensor(_view(value, stored))
        else:
            others[join(group, name)] = _kind(value)
    if not groups and not others:
        others[""] = _kind(tree)
    return Contents(groups, others)


def join(group: str, name: str) -> str:
    """Return the full name of an entry of a group."""
    return f"{group}.{name}" if group else name


def _root(archive: zipfile.ZipFile, path: Path) -> tuple[str, bool]:
    """Return the top folder inside the archive, and whether torch.jit.save wrote it; refuse other archives."""
    names = archive.namelist()
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise ConfigError(f"{path} is a zip, but not of torch.save; unpack it, or name the file of weights")
    root = roots[0]
    return root, f"{root}/constants.pkl" in names or any(name.startswith(f"{root}/code/") for name in names)


def _small(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """Read a whole entry, after a check of its size, which a compressed entry also states."""
    if archive.getinfo(name).file_size > MAX_PICKLE_BYTES:
        raise ConfigError(f"{name!r} in {path} has more than {MAX_PICKLE_BYTES} bytes; save only the state_dict()")
    return archive.read(name)


def _entries(tree: Any, path: Path) -> Iterator[tuple[str, str, Any]]:
    """Yield (path of the dict, key, value) of everything in nested dicts that is no dict with entries itself."""
    count = 0
    waiting = deque([("", tree, 0)] if isinstance(tree, dict) else [])
    while waiting:
        group, mapping, depth = waiting.popleft()
        for key, value in dict.items(mapping):
            if not isinstance(key, str):
                continue
            count += 1
            if count > MAX_ENTRIES or depth > MAX_DEPTH or len(group) + len(key) > MAX_KEY_LENGTH:
                raise ConfigError(f"{path} holds more names, or longer ones, than weights need; save a state_dict()")
            if isinstance(value, dict) and len(value):
                waiting.append((join(group, key), value, depth + 1))
            else:
                yield group, key, value


def _is_tensor(value: Any) -> bool:
    """Return whether this is a tensor, and of a type of number that is read."""
    if type(value) is not View:
        return False
    return type(value.storage) is not Storage or type(value.storage.dtype) is str


def _kind(value: Any) -> str:
    """Return the name of the type of an entry that is no tensor."""
    if type(value) is View:  # of numbers that are not read, such as complex ones
        value = value.storage.dtype
    return getattr(value, "name", None) or type(value).__name__


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
