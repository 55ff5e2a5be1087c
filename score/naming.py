"""Name of the table: it tells model, data and options apart, so that no call spoils the result of another."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from jepa_jax.data.tfds import PREFIX
from jepa_jax.files import make_directory
from jepa_jax.run_dir import kind_of, read_export

from .options import PILOT_OPTIONS, SCORE_OPTIONS, WEIGHT_OPTIONS, Arguments

# Options that make the rows of a table other rows.
NAMED_OPTIONS = (
    "weights", "step", "limit", "sample", "sample_seed", "views", "rank", "tangent", "eps", "law",
    *SCORE_OPTIONS, *WEIGHT_OPTIONS,
)  # fmt: skip

CURATED = "-curated"  # end of the name of a table with the columns for curation


def call_digest(a: Arguments) -> str:
    """Return a digest of what a call scores: the paths of model and data, and the options that change rows."""
    data = os.path.realpath(a.data) if os.path.exists(a.data) else a.data
    call = [os.path.realpath(a.model), data, *(getattr(a, name) for name in (*NAMED_OPTIONS, *pilot_options(a)))]
    return hashlib.sha256(json.dumps(call).encode(errors="surrogateescape")).hexdigest()[:16]


def pilot_options(a: Arguments) -> tuple[str, ...]:
    """Return the options of a pilot; none without one, so that such calls are known by the same name as ever."""
    return () if a.pilot is None else PILOT_OPTIONS


def table_path(a: Arguments, console: Console) -> Path:
    """Return the path of the table: --out, or a name after the data in the model directory, for foreign weights here.

    Tables of one call in another format, or with the columns for curation, have the same rows; see `rows_path`.

    Another call keeps its name; this one's then ends in its digest. With --out, a line says what is replaced.

    Args:
      a: Arguments of the program.
      console: Console for that line.
    """
    digest = call_digest(a)
    if a.out:
        out = Path(a.out)
        before = _summary(out)
        if before and before.get("call", digest) != digest:
            console.print(f"note: {out} replaces the scores of {before['data']} by {before['model']}", markup=False)
        return out
    model = Path(a.model)
    folder = Path("scores") / model.resolve().name if _is_published(model) else model / "scores"
    plain = folder / f"{_stem(a.data)}.csv"
    make_directory(folder)
    if _owner(plain, digest) != digest:
        plain = folder / f"{_stem(a.data)}-{digest[:6]}.csv"
    return plain.with_name(f"{plain.stem}{CURATED if a.curate else ''}.{a.format or 'csv'}")


def rows_path(table: Path) -> Path:
    """Return the path beside which the rows of a table are kept, the same for all forms of it."""
    return table.with_name(f"{table.stem.removesuffix(CURATED)}.csv")


def _is_published(model: Path) -> bool:
    """Return whether a folder is as it was or will be published, so that no scores belong into it."""
    return kind_of(model) == "foreign" or read_export(model) is not None


def _stem(data: str) -> str:
    if os.path.isdir(data):
        return Path(data).resolve().name or "images"
    if data.startswith(PREFIX):
        return "_".join(re.findall(r"[\w.]+", data.removeprefix(PREFIX)))
    return Path(data).stem


def _owner(table: Path, digest: str) -> str:
    """Return the digest of the call to which a default name belongs; it is taken for this one if it is free."""
    if (before := _summary(table)) is not None:
        return str(before.get("call", ""))
    try:  # two calls may start at once, before either has written a summary
        with table.with_name(f".{table.name}.call").open("x") as file:
            file.write(digest)
    except FileExistsError:
        return table.with_name(f".{table.name}.call").read_text() or digest
    return digest


def _summary(table: Path) -> dict[str, Any] | None:
    """Return the summary beside a table that this program wrote, or None."""
    try:
        tree = json.loads(table.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and {"model", "data"} <= tree.keys() else None
