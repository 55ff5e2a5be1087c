"""Related systems as rows of one trainer, each beside its baselines.

    python -m benchmarks.family [--rows NAME ...] [--seeds SEED ...]

Hardware: any CPU; half a minute to five minutes a cell on two cores, about two hours for all. Rows train as published,
by a teacher or stopped gradients alone, and with an anti-collapse term; each figure of a trained encoder stands beside
that of the untrained one and those of baselines. `masks` compares laws of masks on the row of vowels, and `targets`
targets on the row of speckle, both as published. The row `density` asks whether masked prediction learns the density:
masked alone, with a pair of noisy views or of the visible and the hidden patches, and the noisy pair alone, each with
and without SIGReg, against exact densities. Cells are medians over seeds, with the smallest and largest value. Results
go to OUT/DEVICE/family.json and family.md after every cell; the same command continues an interrupted run, and other
rows and seeds are added. Rows on real data need `pip install 'jepa-jax[family]'` and are passed over, with a line,
where it is missing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.family.pictures import draw
from benchmarks.family.rows import ABLATIONS, ROWS, cells
from benchmarks.family.training import trained
from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.progress import progress

PARTS = (*ROWS, *ABLATIONS, "density")


@dataclass(frozen=True)
class Args:
    """Arguments of the benchmark."""

    rows: tuple[str, ...] = PARTS
    """Rows to run, by name; `masks` and `targets` for other ones of vowels and of speckle; `density` for the question
    what masked prediction learns."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the training."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""
    pictures: Path | None = None
    """Folder in which to draw a picture of each row, from its results."""


def main(argv: list[str] | None = None) -> int:
    """Run the rows and return the exit status."""
    return exit_status(lambda: _measure(argv))


def _measure(argv: list[str] | None) -> Path:
    args = parse(Args, sys.argv[1:] if argv is None else argv, prog="benchmarks.family", description=__doc__ or "")
    if wrong := [name for name in args.rows if name not in PARTS]:
        raise ConfigError(f"--rows has no {wrong[0]!r}; it takes {', '.join(PARTS)}")
    console, folder = Console(stderr=True), results_folder(str(args.out))
    about, found = continued(folder / "family.json", {})
    planned = [(name, *cell, seed) for row in args.rows for name, cell in cells(row).items() for seed in args.seeds]
    with progress(console, len(planned), "cells") as bar:
        for name, make, judge, seed in planned:
            done = found.setdefault(name, {})
            if str(seed) not in done:
                try:
                    cell = trained(make(), seed)
                except (ConfigError, FloatingPointError) as error:
                    console.print(f"{name}, seed {seed}, is passed over: {error}", markup=False)
                    bar.advance(bar.task_ids[0])
                    continue
                done[str(seed)] = judge(cell) | {"seconds": cell.seconds, "travelled": cell.travelled}
                write_results(folder, "family", _markdown(found), {"about": about, "cells": found})
                shown = ", ".join(f"{key} {value:.3f}" for key, value in done[str(seed)].items())
                console.print(f"{name}, seed {seed}: {shown}", markup=False, highlight=False, soft_wrap=True)
            bar.advance(bar.task_ids[0])
    if args.pictures:
        make_directory(args.pictures)
        for row in args.rows:
            if row in ROWS and any(found.get(name) for name in cells(row)):
                console.print(f"picture: {draw(args.pictures, row, found)}", markup=False)
    if not any(found.values()):
        raise ConfigError("no row was run: the packages of all of them are missing")
    return folder / "family.md"


def _markdown(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a table for each row, of its variants."""
    blocks = ["# Related systems"]
    for row in PARTS:
        mine = {name: seeds for name, seeds in found.items() if name.startswith(f"{row}: ") and seeds}
        if not mine:
            continue
        names = list(dict.fromkeys(key for seeds in mine.values() for cell in seeds.values() for key in cell))
        lines = [
            [name.removeprefix(f"{row}: "), *[_spread(seeds, key) for key in names]] for name, seeds in mine.items()
        ]
        text = ""
        if row in ROWS:
            text = f"{ROWS[row].system}: `python -m train {ROWS[row].config}`. Bar: {ROWS[row].bar}."
        if row in ABLATIONS:
            text = f"Other {row} of the row {ABLATIONS[row].row}, as published."
        blocks += [f"## {row}", text, markdown_table(["", *names], lines)]
    return "\n\n".join(block for block in blocks if block)


def _spread(seeds: dict[str, dict[str, Any]], key: str) -> str:
    """Return the median of a figure over seeds, with the range if there are several."""
    values = np.array([cell[key] for cell in seeds.values() if key in cell], float)
    if not len(values) or np.isnan(values).all():
        return "-"
    form = ".0f" if key == "seconds" else ".3f"
    middle = f"{np.median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} ({values.min():{form}} to {values.max():{form}})"


if __name__ == "__main__":
    sys.exit(main())
