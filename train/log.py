"""metrics.jsonl: one object a line, appended as training goes."""

import json
import math
from pathlib import Path
from typing import Any

from jepa_jax.files import write_atomically


class MetricsLog:
    """Appends to metrics.jsonl. Opening it for a resume drops every line after the checkpoint's step."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        self.rows = [row for row in read_rows(path) if row["step"] <= resumed_at]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(path, lambda temporary: temporary.write_text(text))
        self._file = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        """Append one line, and push it out before any checkpoint that follows it."""
        row = {k: clean(v) for k, v in row.items()}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def latest(self) -> dict[str, Any]:
        """The last value of each metric."""
        return {k: v for row in self.rows for k, v in row.items()}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a last line cut short by a crash is left out."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def clean(value: Any) -> Any:
    """A JSON value: numbers to at most 9 digits, and null for what is not finite, which JSON cannot hold."""
    if value is None or isinstance(value, str | int):
        return value
    value = float(value)
    return float(f"{value:.9g}") if math.isfinite(value) else None
