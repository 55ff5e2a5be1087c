"""Tables that the score program writes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from score import __main__ as program


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(out: Path, *args: Any) -> dict[str, np.ndarray]:
    """Run the program, and return its table as columns."""
    assert program.main([*map(str, args), "--out", str(out)]) == 0
    rows = read(out)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
