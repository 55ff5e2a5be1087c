"""Table of the scores: its columns, and the files FILE.csv and FILE.parquet that hold it."""

import csv
from pathlib import Path

import numpy as np

from jepa_jax.data import LazyImages, Samples
from jepa_jax.files import write_atomically

from .page import percentiles
from .scorer import REASONS, UNREADABLE_CODE

# Columns [N] by name; a number that is not finite, or a masked value, is missing.
Columns = dict[str, np.ndarray]


def row_ids(samples: Samples) -> np.ndarray:
    """Return the column `id`: the ids of the samples, or else the row numbers."""
    return np.arange(len(samples.x)) if samples.ids is None else samples.ids


def reason(samples: Samples, rows: np.ndarray, row: int) -> str:
    """Return the reason why a row has no score, or "" if it has one.

    For an image that cannot be read, this is the message of the decoder.

    Args:
      samples: Samples that were scored.
      rows: Records of all rows.
      row: Index of the row.
    """
    code = rows["reason"][row]
    if code == UNREADABLE_CODE and isinstance(samples.x, LazyImages):
        return samples.x.failure(row) or REASONS[code]
    return REASONS[code]


def score_columns(samples: Samples, rows: np.ndarray, rank: int | None, more: Columns) -> Columns:
    """Return the columns: the default ones, the requested ones, and the reasons if a row has no score.

    Args:
      samples: Samples that were scored.
      rows: Records of all rows.
      rank: Number of singular values in the column `top_RANK`, or None.
      more: Further columns, which come after the others and before the reasons.
    """
    columns: Columns = {"id": row_ids(samples), "score": rows["score"], "log_density": rows["log_density"]}
    columns["clipped"] = np.ma.masked_array(rows["clipped"], rows["reason"] > 0)
    for name in ("standard_error", "spread"):
        if name in (rows.dtype.names or ()):
            columns[name] = rows[name]
    if rank:
        columns[f"top_{rank}"] = rows["top"]
    columns["percentile"] = percentiles(rows["score"])
    if samples.label is not None:
        columns["label"] = samples.label
    if samples.held_out is not None:
        columns["split"] = np.where(samples.held_out, "held out", "train")
    columns |= more
    reasons = [reason(samples, rows, i) for i in range(len(rows))] if rows["reason"].any() else []
    if any(reasons):
        columns["reason"] = np.array(reasons)
    return columns


def write_table(path: Path, columns: Columns) -> None:
    """Write columns as CSV, or as Parquet if the path ends so."""
    write_atomically(path, lambda p: (_write_parquet if path.suffix == ".parquet" else _write_csv)(p, columns))


def _write_csv(path: Path, columns: Columns) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*map(_texts, columns.values()), strict=True))


def _write_parquet(path: Path, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: pa.array(np.asarray(a), mask=_missing(a)) for name, a in columns.items()}), path)


def _texts(column: np.ndarray) -> list[str]:
    """Return a column as text, numbers with the 9 digits that float32 holds; "" for what is missing."""
    form = "{:.9g}".format if column.dtype.kind == "f" else str
    return ["" if gone else form(value) for value, gone in zip(np.asarray(column), _missing(column), strict=True)]


def _missing(column: np.ndarray) -> np.ndarray:
    gone = np.ma.getmaskarray(column)
    return gone | ~np.isfinite(np.asarray(column)) if column.dtype.kind == "f" else gone
