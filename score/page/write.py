"""Assembly of the page: from the arrays of a score run to one HTML file."""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.files import write_atomically

from . import charts
from .about import about, notes
from .content import Page
from .gallery import galleries
from .plot import number
from .table import as_json, columns

MAX_LIST_ENTRIES = 20  # entries of a list in the summary that are shown


def write_report(path: Path, page: Page) -> None:
    """Write the page as one HTML file that loads no other file.

    Characters of file names that UTF-8 cannot encode are shown as escapes.
    """
    text = render(page)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="backslashreplace"))


def render(page: Page) -> str:
    """Return the HTML of the page."""
    shown, beside = galleries(page)
    links = {place: address for place in beside if (address := page.link(int(page.rows[place])))}
    parts = {
        "title": escape(page.title),
        "what": f"<b>{escape(page.data)}</b> scored with <b>{escape(page.model)}</b>",
        "facts": facts(page),
        "about": about(page.summary),
        "galleries": shown,
        "charts": draw(page),
        "subset": subset(len(page.rows), len(page.score)),
        "rows": as_json({"columns": columns(page), "pictures": beside, "links": links}),
        "summary": definitions(page.summary),
    }
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    # One pass, so that the inserted text is not searched, whatever it contains.
    return re.sub(r"<!--(\w+)-->", lambda found: parts[found[1]], template)


def facts(page: Page) -> str:
    """Return the numbers at the top."""
    found = {"samples": f"{len(page.score):,}"}
    if len(page.order):
        found["mean score, nats"] = number(page.score[page.order].mean(dtype=np.float64), f".{page.digits}f")
        found["clipped singular values per sample"] = number(page.clipped[page.order].mean(), ".3g")
    found["without a score"] = f"{len(page.score) - len(page.order):,}"
    if page.summary.get("spearman") is not None:
        found["Spearman of the score with the exact log-density"] = number(page.summary["spearman"], ".4f")
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in found.items())


def draw(page: Page) -> str:
    """Return all charts of the samples with a score."""
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
    """Return a sentence if the table does not contain all rows, or else ""."""
    if shown == count:
        return ""
    return f"The page holds {shown:,} of {count:,} samples: the lowest, the highest, and a random part of the others."


def definitions(value: Any) -> str:
    """Return a value of the summary as HTML.

    Dicts become definition lists, lists of dicts or of sentences lists of items, and other lists one line.
    """
    if isinstance(value, Mapping) and value:
        return f"<dl>{''.join(f'<dt>{escape(str(k))}</dt><dd>{definitions(v)}</dd>' for k, v in value.items())}</dl>"
    if isinstance(value, list | tuple) and any(isinstance(item, str) and " " in item for item in value):
        return notes(map(str, value))
    if isinstance(value, list | tuple) and value and not isinstance(value[0], Mapping | list | tuple):
        return ", ".join(map(definitions, value))
    if isinstance(value, list | tuple) and value:
        more = f"<li>and {len(value) - MAX_LIST_ENTRIES:,} more</li>" if len(value) > MAX_LIST_ENTRIES else ""
        return f"<ul>{''.join(f'<li>{definitions(item)}</li>' for item in value[:MAX_LIST_ENTRIES])}{more}</ul>"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, ".6g")
    return "none" if value is None or value in ("", [], (), {}) else escape(str(value))
