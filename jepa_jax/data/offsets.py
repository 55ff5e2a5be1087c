"""Columns that vary little around a large mean: it is subtracted in float64, because float32 would lose the rest."""

from collections.abc import Sequence

import numpy as np

from jepa_jax.data.columns import named
from jepa_jax.errors import ConfigError

COARSE = 1e3  # least deviation of a column, in units of the rounding of float32 at its size, that needs no offset
WHOLE = 2.0**24  # size from which on float32 does not hold all whole numbers


def automatic_offset(x: np.ndarray) -> tuple[float, ...]:
    """Return the number to subtract from each column of rows [N, D] before they are rounded to float32.

    It is the mean of a column of which float32 would keep at most three digits, the value of a large constant one, and
    0 for others; () if all are 0.

    Args:
      x: Rows of numbers of more than 32 bits; others have lost those digits already.
    """
    if x.ndim != 2 or x.dtype.itemsize <= 4 or not len(x):
        return ()
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    largest = np.maximum(np.abs(low), np.abs(high))
    coarse = np.where(low < high, std < COARSE * np.finfo(np.float32).eps * largest, largest >= WHOLE)
    offset = np.where(low < high, mean, high)
    return tuple(np.where(coarse, offset, 0.0).tolist()) if coarse.any() else ()


def centred(x: np.ndarray, offset: Sequence[float], place: str) -> np.ndarray:
    """Return rows [N, D] less an offset [D], subtracted in float64 and rounded to float32.

    Args:
      x: Rows.
      offset: Number of each column.
      place: Origin of the rows, for the message.

    Raises:
      ConfigError: If the offset is not one of these columns.
    """
    if x.shape[1:] != (len(offset),):
        raise ConfigError(
            f"{place}: `data.offset` has {len(offset)} numbers, and a sample has shape {list(x.shape[1:])}"
        )
    return (x.astype(np.float64) - np.asarray(offset)).astype(np.float32)


def offset_notes(x: np.ndarray, offset: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """Return sentences about columns from which an offset was subtracted, and those that float32 has made too coarse.

    Args:
      x: Rows [N, D], float32, less the offset.
      offset: Offset [D], or () for none.
      names: Names of the columns; () to number them.
    """
    notes = []
    if moved := np.flatnonzero(offset).tolist():
        notes.append(
            f"{named(moved, names)} varies so little around a large mean that float32 would lose it: `data.offset` is "
            "subtracted in float64 first"
        )
    low, high = x.min(axis=0), x.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    spacing = np.spacing(largest)
    # A constant is suspicious only where float32 has no room for whole numbers beside it.
    lost = (x.std(axis=0, dtype=np.float64) < spacing) & ((high > low) | (largest >= WHOLE))
    if lost.any():
        first = int(np.flatnonzero(lost)[0])
        notes.append(
            f"{named(np.flatnonzero(lost).tolist(), names)} varies by less than the spacing of float32 at its size "
            f"({spacing[first]:.3g} at {largest[first]:.3g}), so that its differences are lost; save it as float64, or "
            "subtract the mean first"
        )
    return tuple(notes)
