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


def tensor(view: np.ndarray) -> Tensor:
    """Return a view of a mapped file as a `Tensor`."""
    return Tensor(view.shape, view.dtype, lambda: view)


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
