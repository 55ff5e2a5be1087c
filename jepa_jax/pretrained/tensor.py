"""One array in a file, as a view of the mapped file: the disk is read when somebody looks at the numbers."""

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


@dataclass(frozen=True)
class Tensor:
    """One array in a file, read when asked for."""

    shape: tuple[int, ...]
    dtype: np.dtype
    """As in the file."""
    read: Callable[[], np.ndarray]
    """The numbers: a read-only view of the mapped file, in the file's dtype and strides."""


def tensor(view: np.ndarray) -> Tensor:
    """The entry for a view of a mapped file."""
    return Tensor(view.shape, view.dtype, lambda: view)


def mapped(path: Path) -> memoryview:
    """The bytes of a file, read-only; they live as long as a view of them does."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def forget(a: np.ndarray) -> None:
    """Give back the memory that looking at a mapped array took; who looks again reads the disk again.

    Without this a file would stay in memory beside the arrays that are made of it.
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
