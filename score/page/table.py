"""Rows of the table, as the JSON that the script of the page reads."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from .content import Page, Suspects


def columns(page: Page) -> list[dict[str, Any]]:
    """Return the columns of the table, without those that would be empty."""
    rows = page.rows
    found = [words("id", (page.ids[row] for row in rows))]
    if page.classes is not None:
        found.append(words("class", page.classes[rows]))
    found.append(numbers("score", page.score[rows], page.digits))
    found.append(numbers("percentile", page.percentile[rows], 1))
    if np.isfinite(page.log_density).any():
        found.append(numbers("log_density", page.log_density[rows], page.digits))
    found.append(numbers("clipped", page.clipped[rows], 0))
    if page.suspects is not None:
        found += suspicions(page, page.suspects)
    if any(page.reasons):
        found.append(words("reason", (page.reasons[row] for row in rows)))
    return found


def suspicions(page: Page, suspects: Suspects) -> list[dict[str, Any]]:
    """Return the columns for curation."""
    found = []
    for name, digits in (("class_percentile", 1), ("label_disagreement", 2)):
        values = getattr(suspects, name)
        if values is not None:
            found.append(numbers(name, values[page.rows], digits))
    of = suspects.duplicate_of
    if len(suspects.copies):
        named = [page.ids[int(of[row])] if of[row] >= 0 else "" for row in page.rows.tolist()]
        found.append(words("duplicate_of", named))
    return found


def words(name: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return a column of strings, with null for an empty one, or of row numbers."""
    held = [(value or None) if isinstance(value, str) else int(value) for value in values]
    return {"name": name, "digits": None, "values": held}


def numbers(name: str, values: np.ndarray, digits: int) -> dict[str, Any]:
    """Return a column of numbers, with null for one that is not finite.

    The numbers are rounded as they are shown, so that filters agree with what the reader sees.

    Args:
      name: Name of the column.
      values: Values [n].
      digits: Digits after the decimal point.
    """
    held = [round(float(value), digits) if np.isfinite(value) else None for value in values]
    return {"name": name, "digits": digits, "values": held}


def as_json(value: Any) -> str:
    """Return JSON that is safe inside a script element, whatever strings it contains."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 and U+2029 are escaped too
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
