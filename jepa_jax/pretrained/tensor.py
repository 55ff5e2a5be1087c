"""Array in a file as a view of the mapped file; the disk is read when the numbers are accessed."""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

DTYPES = {
    **{
        name: np.dtype(name)
        for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

SHOWN = 200  # characters of a name that a message shows


@dataclass(frozen=True)
class Tensor:
    """Array in a file, read on demand.

    Attributes:
      shape: Shape of the array.
      dtype: Type of the numbers in the file.
      read: Function that returns the numbers: a read-only view of the mapped file, with the dtype and strides of the
        file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Contents:
    """Contents of a file of weights.

    Attributes:
      groups: Tensors by the dict that holds them, a path such as `teacher.backbone`, and their names in it; a file
        whose top is a state dict has the group "".
      others: Entries of these dicts that are no tensors: full names, and the names of their types.
    """

    groups: dict[str, dict[str, Tensor]]
    others: dict[str, str]


def tensor(view: np.ndarray) -> Tensor:
    """Return a view of a mapped file as a `Tensor`."""
    return Tensor(view.shape, view.dtype, lambda: view)


def printable(text: str) -> str:
    """Return a name in a file as it may be printed in a message: in one line, and not long."""
    return text if text.isprintable() and len(text) <= SHOWN else ascii(text)[1:-1][:SHOWN]


def mapped(path: Path) -> memoryview:
    """Map the bytes of a file into memory, read-only and for as long as a view of them exists."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def forget(a: np.ndarray) -> None:
    """Release the memory of a mapped array that was read; another access reads the disk again.

    Without this, a file would remain in memory beside the arrays into which it is copied.
    """
    base: object = a
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise"):
        return
    origin = np.frombuffer(base, np.uint8).ctypes.data
    first, last = (place - origin for place in np.lib.array_utils.byte_bounds(a))
    first -= first % mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, first, last - first)
