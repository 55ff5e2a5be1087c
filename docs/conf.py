"""Sphinx configuration, for `make docs`. JEPA_DOCS_EXECUTE=1 runs the tutorials first."""

import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from numpy.typing import ArrayLike  # noqa: E402
from sphinx.util.typing import stringify_annotation  # noqa: E402

import jepa_jax  # noqa: E402

project = "jepa_jax"
author = "The jepa_jax authors"
project_copyright = author
version = release = jepa_jax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jepa_jax {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# The cells of the tutorials run if this is requested, each page in a new folder.
nb_execution_mode = "force" if os.environ.get("JEPA_DOCS_EXECUTE") == "1" else "off"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
# The kernel is another process, which has to find the package too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

default_role = "code"
smartquotes = False  # they would turn the hyphens of options into dashes
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields that also have docstrings of their own would otherwise be described twice
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False


ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
COLON = "\ue000"  # stands for a colon while napoleon reads the docstring of a field


def protect_colons(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Hide the colons in the docstring of a field, because napoleon takes the text before the first one as a type."""
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", COLON) for line in lines]


def escape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape the characters of mathematics in docstrings that have a meaning in reStructuredText.

    These are a single `*`, a single `|` and an underscore at the end of a word, outside code. Double asterisks remain,
    because they are bold.
    """
    parts = re.split(r"(`+[^`]*`+)", "\n".join(lines).replace(COLON, ":"))
    for i in range(0, len(parts), 2):
        text = re.sub(r"(?<![\\*])\*(?![*])", r"\\*", parts[i])
        text = re.sub(r"(?<![\\|])\|(?![|])", r"\\|", text)
        parts[i] = re.sub(r"(?<=[A-Za-z0-9])_(?![A-Za-z0-9_:])", r"\\_", text)
    lines[:] = "".join(parts).split("\n")


def shorten_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write `ArrayLike` in the place of the long union that it stands for."""
    return signature and signature.replace(ARRAY_LIKE, "ArrayLike"), returns


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which the docstrings of their classes describe."""
    text = getattr(obj, "__doc__", None) or ""
    return True if text.startswith("Alias for field number") else None


def setup(app: Any) -> None:
    """Connect the functions above. Napoleon has priority 500."""
    app.connect("autodoc-process-docstring", protect_colons, priority=400)
    app.connect("autodoc-process-docstring", escape_docstring, priority=600)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_member)
