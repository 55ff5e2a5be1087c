"""Tables as samples: CSV, TSV and Parquet files, and DataFrames. Columns of numbers are the samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jepa_jax import config as cfg
from jepa_jax.data.offsets import automatic_offset, centred
from jepa_jax.data.samples import Samples
from jepa_jax.data.table_columns import Column, by_name, is_number, read_columns
from jepa_jax.errors import ConfigError, first_line, nearest

SUFFIXES = (".csv", ".tsv", ".parquet")
SPECIAL = ("id", "label", "log_density", "split")  # columns that are not input
TRAINED = ("train", "training")
HELD_OUT = ("test", "val", "valid", "validation", "dev", "held out", "held-out", "held_out", "heldout", "holdout")
MAX_LEVELS = 1000  # values of a column of categories; a column with more names its rows


class Schema(NamedTuple):
    """Choice of the input among the columns of a table; see the fields of `config.Data` by the same names.

    Attributes:
      columns: Names of the input columns in their order; () for all that hold numbers or are in `categorical`.
      categorical: Names of the columns of categories.
      levels: Values of the columns of categories as `COLUMN=VALUE`, in the order of their codes; () for those found.
      offset: Number to subtract from each column in float64, () for none; None for `automatic_offset`. Of array files,
        too.
    """

    columns: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    offset: tuple[float, ...] | None = ()


def schema_of(data: cfg.Data | None) -> Schema:
    """Return the schema in a config; that of any table without a config."""
    return Schema() if data is None else Schema(data.columns, data.categorical, data.levels, data.offset)


def is_table(spec: str) -> bool:
    """Return whether a spec names a table, by its suffix."""
    return Path(spec).suffix.lower() in SUFFIXES


def is_frame(x: Any) -> bool:
    """Return whether an object is a DataFrame: of pandas, polars, or another library that offers Arrow's columns."""
    return hasattr(x, "columns") and (hasattr(x, "iloc") or hasattr(x, "__arrow_c_stream__"))


def read_table(path: Path, schema: Schema) -> Samples:
    """Read the samples of a table file.

    Args:
      path: `.csv`, `.tsv` or `.parquet`; the first line of the former names the columns.
      schema: Choice of the input.

    Returns:
      Samples with x [N, D], float32, and `label`, `ids`, `log_density` and `held_out` by the columns `label`, `id`,
      `log_density` and `split`.

    Raises:
      ConfigError: If the file cannot be read, has no rows, a column is missing or is text, or a value is missing, no
        number, or too large for float32. The message names the file, the column and the first row.
    """
    return _samples(read_columns(path), schema, str(path))


def from_frame(frame: Any, schema: Schema, name: str = "the DataFrame") -> Samples:
    """Return the rows of a DataFrame as samples, by the rules of `read_table`. An index is ignored.

    Raises:
      ConfigError: As in `read_table`.
    """
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False) if hasattr(frame, "iloc") else pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:  # such as a column of several types
        raise ConfigError(f"{name} cannot be read: {first_line(error)}") from None
    return _samples(by_name(table, name), schema, name)


def from_arrow(table: Any, schema: Schema, name: str) -> Samples:
    """Return the rows of an Arrow table as samples, by the rules of `read_table`.

    Raises:
      ConfigError: As in `read_table`.
    """
    return _samples(by_name(table, name), schema, name)


def _samples(columns: Mapping[str, Column], schema: Schema, origin: str) -> Samples:
    """Return samples of the columns of a table.

    Raises:
      ConfigError: As in `read_table`.
    """
    inputs = _inputs(columns, schema, origin)
    x = np.empty((len(next(iter(columns.values()))), len(inputs)))
    categories, levels = [0] * len(inputs), []
    for i, name in enumerate(inputs):
        if name in schema.categorical:
            x[:, i], values = _codes(columns[name], schema)
            categories[i] = len(values)
            levels += [f"{name}={value}" for value in values]
        else:
            x[:, i] = columns[name].numbers()
    special: dict[str, Any] = {}
    if "label" in columns:
        special["label"] = columns["label"].plain()
    if "id" in columns:
        ids = columns["id"].texts()
        special["ids"] = np.array([int(i) for i in ids] if all(_is_plain_whole(i) for i in ids) else ids)
    if "log_density" in columns:
        special["log_density"] = columns["log_density"].numbers().astype(np.float32)
    if "split" in columns:
        special["held_out"] = _held_out(columns["split"])
    chosen = tuple(categories) if any(categories) else ()
    offset = automatic_offset(x) if schema.offset is None else schema.offset
    if offset and chosen:
        offset = tuple(0.0 if count else number for number, count in zip(offset, categories, strict=False))
    x = centred(x, offset, origin) if any(offset) else x.astype(np.float32)
    special |= {"offset": offset if any(offset) else ()}
    return Samples(x, categories=chosen, columns=inputs, levels=tuple(levels), name=origin, **special)


def _inputs(columns: Mapping[str, Column], schema: Schema, origin: str) -> tuple[str, ...]:
    """Return the names of the input columns.

    Raises:
      ConfigError: If a column that is asked for is missing, one is text, or there are none.
    """
    known = [name for name in columns if name not in SPECIAL]
    for name in (*schema.columns, *schema.categorical):
        if name not in known:
            raise ConfigError(f"{origin} has no column {name!r} for input{nearest(name, known)}")
    if schema.columns:
        return schema.columns
    for name in known:
        if name not in schema.categorical and columns[name].is_text:
            raise ConfigError(
                f"{origin}: column {name!r} is no column of numbers (it has {columns[name].example!r}); "
                "name it in `data.categorical` if it has categories, or choose columns with `data.columns`"
            )
    if not known:
        raise ConfigError(f"{origin} has no columns of numbers; it has {', '.join(columns)}")
    return tuple(known)


def _codes(column: Column, schema: Schema) -> tuple[np.ndarray, list[str]]:
    """Return the categories of a column as whole numbers [N] from 0, -1 for values without a code; and the values.

    Raises:
      ConfigError: If a value is missing, or there are too many.
    """
    texts = column.texts()
    before = f"{column.name}="
    values = [level.removeprefix(before) for level in schema.levels if level.startswith(before)]
    if not values:
        found = set(texts)
        # Numbers in their order, and text in that of its letters.
        values = sorted(found, key=float) if all(map(is_number, found)) else sorted(found)
    if len(values) > MAX_LEVELS:
        raise column.error(0, f"is one of {len(values)} different values, more than {MAX_LEVELS}; leave the column out")
    code = {value: number for number, value in enumerate(values)}
    return np.array([code.get(text, -1) for text in texts], np.float32), values


def _held_out(column: Column) -> np.ndarray | None:
    """Return which rows are held out [N] by a column of words, or None if none is.

    Raises:
      ConfigError: If a word is not known.
    """
    words = [text.strip().lower() for text in column.texts()]
    for row, word in enumerate(words):
        if word not in TRAINED + HELD_OUT:
            raise column.error(row, f"has {word!r}; a split is one of {', '.join(TRAINED + HELD_OUT)}")
    found = np.array([word in HELD_OUT for word in words])
    return found if found.any() else None


def _is_plain_whole(text: str) -> bool:
    """Return whether a number keeps its form as text, which one with leading zeros does not, in 64 bits."""
    return text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text
