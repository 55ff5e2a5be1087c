"""Table of the summaries of several runs: those of `--seeds` at their end, and those that `--runs` finds."""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jepa_jax.errors import ConfigError, first_line
from jepa_jax.run_dir import CONFIG_FILE

SUMMARY_FILE = "summary.json"
DEPTH = 3  # of folders below those that are named, in which runs are looked for
WIDTH = 160  # of the table where the output is no terminal
# Entries of a summary that are columns, if any run has them -> heading.
COLUMNS = {
    "step": "step",
    "loss": "loss",
    "density/spearman": "spearman",
    "density/log_density_spearman": "corrected",
    "heldout_nats": "held-out nats",
    "heldout_nats_kde": "KDE",
    "heldout_nats_gmm": "GMM",
    "probe/linear": "linear probe",
    "probe/knn": "k-NN",
    "embedding/effective_rank": "effective rank",
}


@dataclass(frozen=True)
class Arguments:
    """Command line of `--runs`."""

    runs: tuple[str, ...] = ("runs",)
    """DIR..., folders of runs, or folders that hold them."""
    json: bool = False
    """Print the configs and the summaries as JSON instead of a table."""


def overview(folders: Sequence[str], as_json: bool) -> None:
    """Print the summaries of all runs in some folders.

    Args:
      folders: Folders of runs, or folders that hold them.
      as_json: Whether to print a JSON array of objects with `run`, `config` and `summary` instead of a table.

    Raises:
      ConfigError: If a folder does not exist, there is no run in any, or a file is damaged.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"{folder} is not a folder; name one of a run, or one that holds runs")
    found = list(dict.fromkeys(run for folder in folders for run in find_runs(Path(folder), DEPTH)))
    if not found:
        raise ConfigError(f"there is no run in {', '.join(folders)}; python -m train CONFIG makes one")
    if as_json:
        rows = [{"run": str(run), "config": _read(run / CONFIG_FILE), "summary": summary_of(run)} for run in found]
        print(json.dumps(rows, indent=2))
    else:
        print_table({str(run): summary_of(run) for run in found})


def find_runs(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of runs in a folder, which may be one itself, to a depth of folders below it."""
    tree = _read(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else None
    if isinstance(tree, dict) and "steps" in tree:
        yield folder
    elif depth:
        for below in sorted(folder.iterdir(), key=_in_order):
            if below.is_dir() and not below.name.startswith("."):
                yield from find_runs(below, depth - 1)


def summary_of(run: Path) -> dict[str, Any] | None:
    """Return the summary of a run; None if it is not finished.

    Raises:
      ConfigError: If it is damaged.
    """
    return _read(run / SUMMARY_FILE) if (run / SUMMARY_FILE).is_file() else None


def print_table(summaries: dict[str, dict[str, Any] | None], spread: bool = False) -> None:
    """Print summaries as a table on standard output.

    Args:
      summaries: Summaries by the name of their run; None for a run that is not finished.
      spread: Whether to add the median of each number and its range, for runs that differ by their seed.
    """
    known = [summary for summary in summaries.values() if summary is not None]
    columns = {name: head for name, head in COLUMNS.items() if any(_number(s.get(name)) is not None for s in known)}
    table = Table("run", *columns.values(), "verdict")
    for name, summary in summaries.items():
        values = summary or {}
        cells = [_shown(_number(values.get(column))) for column in columns]
        table.add_row(name, *cells, "not finished" if summary is None else str(values.get("verdict", "")))
    if spread and len(known) > 1:
        numbers = [[v for s in known if (v := _number(s.get(column))) is not None] for column in columns]
        verdicts = [str(s.get("verdict", "")) for s in known]
        healthy = f"healthy {verdicts.count('healthy')} of {len(known)}"
        table.add_section()
        table.add_row("median", *(_shown(statistics.median(v)) for v in numbers), healthy)
        table.add_row("range", *(f"{_shown(min(v))} to {_shown(max(v))}" for v in numbers), "")
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=WIDTH)
    console.print(table, markup=False)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: {first_line(error)}") from None


def _in_order(path: Path) -> tuple[Any, ...]:
    """Return a key by which seed_10 comes after seed_9."""
    head = path.name.rstrip("0123456789")
    return head, int(path.name[len(head) :] or -1)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.4g}"
