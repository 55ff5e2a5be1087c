"""Columns of tables: CSV, TSV and Parquet files, and Arrow tables, with errors that name file, column and row."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError, first_line

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MISSING = ("", "na", "n/a", "nan", "null", "none", "-")  # what stands for a missing number, in small letters
REMEDY = "fill in or drop such rows"
JUDGED_VALUES = 100  # of a column, by which text is told from numbers with a wrong one among them
LARGEST = float(np.finfo(np.float32).max)


class Column:
    """Column of a table: its values [N], and what messages say about them."""

    def __init__(self, name: str, values: Any, origin: str) -> None:
        """Take the values, an Arrow array, of a column of the file or object `origin`."""
        import pyarrow as pa

        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        self.name, self.values, self._origin = name, values, origin

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    @property
    def is_text(self) -> bool:
        """Whether the values are no numbers, judged by the first ones that are there."""
        some = self.values.drop_null().slice(0, JUDGED_VALUES)
        found = [_number(some, i) for i in range(len(some))]
        return None in found and all(number is None or np.isnan(number) for number in found)

    @property
    def example(self) -> Any:
        """The first value that is there."""
        return self.values.drop_null()[0].as_py()

    def numbers(self, *, finite: bool = True) -> np.ndarray:
        """Return the values as numbers [N], float64.

        Args:
          finite: Whether missing values, infinite ones and those beyond float32 are errors; otherwise they are NaN.

        Raises:
          ConfigError: If a value is no number; the message names the first one.
        """
        try:
            found = _parsed(self.values)
        except ValueError:
            row = next(i for i in range(len(self)) if _number(self.values, i) is None)
            raise self.error(row, f"has {self.values[row].as_py()!r}, which is no number") from None
        good = np.abs(found) <= LARGEST
        if not finite:
            return np.where(good, found, np.nan)
        if not good.all():
            rows = np.flatnonzero(~good)
            what = "is missing" if np.isnan(found[rows[0]]) else "is too large for float32"
            more = f", as in {len(rows) - 1} more rows" if len(rows) > 1 else ""
            raise self.error(int(rows[0]), f"{what}{more}; {REMEDY}")
        return found

    def texts(self, *, missing: bool = False) -> list[str]:
        """Return the values as text [N], whole numbers without a decimal point.

        Args:
          missing: Whether values may be missing, which are then "".

        Raises:
          ConfigError: If a value is missing that may not be, or the values have a type that cannot be written as text.
        """
        import pyarrow as pa

        values = self.values
        try:
            if pa.types.is_floating(values.type) and bool(np.all(_parsed(values) % 1 == 0)):
                values = values.cast(pa.int64())
            found = values.cast(pa.string()).to_pylist()
        except (pa.ArrowException, ValueError):
            raise ConfigError(f"{self._origin}: column {self.name!r} has type {self.values.type}, not text") from None
        if not missing and not all(found):
            raise self.error(next(i for i, value in enumerate(found) if not value), f"is missing; {REMEDY}")
        return [value or "" for value in found]

    def plain(self) -> np.ndarray:
        """Return the values [N] in the type that fits: whole numbers, numbers (NaN if missing), or else text."""
        try:
            numbers = _parsed(self.values)
        except ValueError:
            return np.array(["" if value is None else str(value) for value in self.values.to_pylist()])
        whole = np.isfinite(numbers).all() and (numbers % 1 == 0).all() and (np.abs(numbers) < 2**53).all()
        return numbers.astype(np.int64) if whole else numbers

    def error(self, row: int, what: str) -> ConfigError:
        """Return the error that a value is wrong, with its place."""
        # The number of a row is its `id`; an editor counts lines from 1, with the names of the columns in the first.
        line = f" (line {row + 2})" if Path(self._origin).suffix.lower() in DELIMITERS else ""
        return ConfigError(f"{self._origin}: column {self.name!r}, row {row}{line}, {what}")


def read_columns(path: Path) -> dict[str, Column]:
    """Return the columns of a table file by name; those of CSV and TSV are text.

    Raises:
      ConfigError: If the file cannot be read as a table, or has no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():  # opening a pipe would wait forever
        raise ConfigError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    text = path.suffix.lower() in DELIMITERS
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ConfigError(f"{path} is empty")
            file.seek(0)
            return by_name(_read_text(path) if text else pq.read_table(file), str(path))
    except ConfigError:
        raise
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:  # a damaged file raises any of them
        kind = "a table of text in UTF-8" if text else "a Parquet file"
        raise ConfigError(f"{path} cannot be read as {kind}: {first_line(error)}") from None


def _read_text(path: Path) -> Any:
    """Return a CSV or TSV file as an Arrow table of text.

    Raises:
      ConfigError: If the first line does not name the columns, or a row has another number of values.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    delimiter = DELIMITERS[path.suffix.lower()]
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    _check_names(path, names)
    wrong: list[Any] = []

    def refuse(row: Any) -> str:
        wrong.append(row)
        return "error"

    try:
        return arrow.read_csv(
            str(path),
            # In one thread, so that a wrong row has a number. As text, because Arrow chooses types by the first block.
            read_options=arrow.ReadOptions(use_threads=False),
            parse_options=arrow.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=True, invalid_row_handler=refuse
            ),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid:
        if not wrong:
            raise
        row = wrong[0]
        raise ConfigError(
            f"{path}, line {row.number}, has {row.actual_columns} values, and the first line names "
            f"{row.expected_columns} columns"
        ) from None


def _check_names(path: Path, names: list[str]) -> None:
    """Check the names of the columns in the first line of a text file.

    Raises:
      ConfigError: If they are none, because another character separates them or the file begins with numbers.
    """
    others = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
    if len(names) == 1:
        for other, word in others.items():
            if other in names[0]:
                kind = "tabs" if path.suffix.lower() == ".tsv" else "commas"
                raise ConfigError(f"{path} is separated by {word}, not by {kind}, as its suffix says; save it again")
    numbered = names == [str(i) for i in range(len(names))]  # as pandas numbers columns without names
    if names and not numbered and all(is_number(name) for name in names):
        raise ConfigError(f"{path} begins with numbers; its first line should name the columns")


def is_number(text: str) -> bool:
    """Return whether text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def by_name(table: Any, origin: str) -> dict[str, Column]:
    """Return the columns of an Arrow table by name.

    Raises:
      ConfigError: If there are no rows, or two columns have the same name, or one has none.
    """
    names = [str(name) for name in table.column_names]
    for number, name in enumerate(names):
        if names.index(name) != number:
            raise ConfigError(f"{origin} has two columns named {name!r}; rename one")
        if not name.strip():
            raise ConfigError(
                f"{origin}: column {number} has no name; name it id if it numbers the rows, or save without an index"
            )
    if not names or not table.num_rows:
        raise ConfigError(f"{origin} has no rows")
    columns = {name: Column(name, table.column(i), origin) for i, name in enumerate(names)}
    return {name: column for name, column in columns.items() if not name.startswith("__index_level_")}  # of pandas


def _parsed(values: Any) -> np.ndarray:
    """Return values, an Arrow array, as float64, NaN for missing ones.

    Raises:
      ValueError: If one is no number.
    """
    import pyarrow as pa
    from pyarrow import compute

    pc: Any = compute  # whose functions are made when it is imported
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.is_in(pc.utf8_lower(values), pa.array(MISSING, kind)), None, values)
    elif pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise ValueError
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    try:
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    except pa.ArrowException:
        raise ValueError from None


def _number(values: Any, row: int) -> float | None:
    """Return one of the values as a number, NaN if it is missing, or None if it is no number."""
    try:
        return float(_parsed(values.slice(row, 1))[0])
    except ValueError:
        return None
