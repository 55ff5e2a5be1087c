"""Origin of the encoder on the page: whose weights they are, what was assumed, and how pictures are brought to it."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.pretrained.words import recipe_in_words, size_in_words

FACTS = {  # entries of the origin of foreign weights, as the page names them
    "family": "family",
    "arch": "published size",
    "layout": "layout of the file",
    "role": "role in the file",
    "activation": "activation",
    "heads": "attention heads",
    "patch_size": "patches, pixels",
    "native_image_size": "trained at, pixels",
    "positions": "positions",
    "description": "described by",
    "licence": "licence",
}
LONG = 40  # characters of a fact that takes the whole width


def about(summary: Mapping[str, Any]) -> str:
    """Return a section on the encoder and the notes of a run; "" if FILE.json has neither."""
    origin = summary.get("origin") or {}
    facts = {name: _text(key, origin) for key, name in FACTS.items() if _text(key, origin)}
    if origin and summary.get("preprocessing"):
        facts["pictures"] = recipe_in_words(Preprocessing.from_dict(summary["preprocessing"]))
    parts = []
    if facts:
        shown = "".join(
            f"<div{_wide(text)}><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items()
        )
        parts.append(f'<section class="about"><h2>The encoder</h2><dl>{shown}</dl>{notes(origin.get("notes", ()))}')
        parts.append("</section>")
    if summary.get("notes"):
        parts.append(f'<section class="about"><h2>Notes</h2>{notes(summary["notes"])}</section>')
    return "".join(parts)


def notes(sentences: Iterable[str]) -> str:
    """Return sentences as a list; "" without any."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _wide(text: str) -> str:
    return ' class="wide"' if len(text) > LONG else ""


def _text(key: str, origin: Mapping[str, Any]) -> str:
    """Return an entry of the origin in words, "" if there is none."""
    value = origin.get(key)
    if key == "role":
        value = value or origin.get("branch")
    if value is None:
        return ""
    return size_in_words(value) if key in ("patch_size", "native_image_size") else str(value)
