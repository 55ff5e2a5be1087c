"""Tables of scores that were written before, as the programs select and compare read them."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.data.table_columns import Column, read_columns
from jepa_jax.errors import ConfigError, nearest


class Scores:
    """Table FILE.csv or FILE.parquet of the score program.

    Attributes:
      path: The file.
      columns: Columns by name.
      ids: Column `id` as text [N].
    """

    def __init__(self, path: Path) -> None:
        """Read a table.

        Raises:
          ConfigError: If there is no such file, or it is no table of scores.
        """
        if path.suffix.lower() not in (".csv", ".parquet"):
            raise ConfigError(f"{path} is not a table of scores, FILE.csv or FILE.parquet")
        self.path, self.columns = path, read_columns(path)
        for name in ("id", "score"):
            if name not in self.columns:
                raise ConfigError(f"{path} is not a table of scores: it has no column {name}")
        self.ids = np.array(self.columns["id"].texts(), dtype=object)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def column(self, name: str) -> Column:
        """Return a column.

        Raises:
          ConfigError: If there is none of this name.
        """
        if name not in self.columns:
            raise ConfigError(f"{self.path} has no column {name}{nearest(name, self.columns)}")
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of numbers [N], float64, NaN where one is missing.

        Raises:
          ConfigError: If there is no such column, or it is text.
        """
        return self.column(name).numbers(finite=False)

    def texts(self, name: str) -> np.ndarray:
        """Return a column as text [N], "" where a value is missing.

        Raises:
          ConfigError: If there is no such column.
        """
        return np.array(self.column(name).texts(missing=True), dtype=object)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Content of FILE.json beside the table; {} if there is none."""
        try:
            tree = json.loads(self.path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            return {}
        return tree if isinstance(tree, dict) else {}
