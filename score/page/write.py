"""Putting the page together: from the arrays of a score run to one HTML file."""

import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.files import write_atomically

from . import charts
from .content import Page
from .gallery import galleries
from .plot import number
from .table import as_json, columns

LISTED = 20  # entries of a list in the summary


def write_report(path: Path, page: Page) -> None:
    """Write the page as one HTML file that loads nothing else.

    What UTF-8 cannot hold of a file name is shown as escapes.
    """
    text = render(page)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="backslashreplace"))


def render(page: Page) -> str:
    """The page's text."""
    shown, beside = galleries(page)
    parts = {
        "title": escape(page.title),
        "what": f"<b>{escape(page.data)}</b> scored with <b>{escape(page.model)}</b>",
        "facts": facts(page),
        "galleries": shown,
        "charts": draw(page),
        "subset": subset(len(page.rows), len(page.score)),
        "rows": as_json({"columns": columns(page), "pictures": beside}),
        "summary": definitions(page.summary),
    }
    template = resources.files("score.page").joinpath("page.html").read_text(encoding="utf-8")
    # One pass: what is put in is never looked at again, whatever it holds.
    return re.sub(r"<!--(\w+)-->", lambda found: parts[found[1]], template)


def facts(page: Page) -> str:
    """The numbers at the top."""
    found = {"samples": f"{len(page.score):,}"}
    if len(page.order):
        found["mean score, nats"] = number(page.score[page.order].mean(dtype=np.float64), f".{page.digits}f")
        found["clipped singular values a sample"] = number(page.clipped[page.order].mean(), ".3g")
    found["without a score"] = f"{len(page.score) - len(page.order):,}"
    if page.summary.get("spearman") is not None:
        found["Spearman of the score with the exact log-density"] = number(page.summary["spearman"], ".4f")
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in found.items())


def draw(page: Page) -> str:
    """All charts that the samples [n] with a score give."""
    if not len(page.order):
        return "<p>No sample has a score.</p>"
    score, corrected = (values[page.order].astype(np.float64) for values in (page.score, page.log_density))
    found = [charts.histogram(score, page.digits)]
    finite = np.isfinite(page.sigma).all(axis=1)
    if finite.any():
        found.append(charts.spectrum(page.sigma[finite]))
    if page.truth is not None and len(score) > 1:
        learned, name = (corrected, "learned log-density") if np.isfinite(corrected).all() else (score, "score")
        found.append(charts.scatter(learned, page.truth[page.order].astype(np.float64), name))
    if page.classes is not None:
        found.append(charts.boxes(score, page.classes[page.order], page.digits))
    return "".join(found)


def subset(shown: int, count: int) -> str:
    """A sentence where the table does not hold all rows."""
    if shown == count:
        return ""
    return f"Of {count:,} samples the page holds {shown:,}: the lowest, the highest, and a random part of the others."


def definitions(value: Any) -> str:
    """A value of the summary as HTML: dicts as definition lists, lists of dicts item by item, other lists on a line."""
    if isinstance(value, Mapping) and value:
        return f"<dl>{''.join(f'<dt>{escape(str(k))}</dt><dd>{definitions(v)}</dd>' for k, v in value.items())}</dl>"
    if isinstance(value, list | tuple) and value and not isinstance(value[0], Mapping | list | tuple):
        return ", ".join(map(definitions, value))
    if isinstance(value, list | tuple) and value:
        more = f"<li>and {len(value) - LISTED:,} more</li>" if len(value) > LISTED else ""
        return f"<ul>{''.join(f'<li>{definitions(item)}</li>' for item in value[:LISTED])}{more}</ul>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, ".6g")
    return "none" if value is None or value in ("", [], (), {}) else escape(str(value))
