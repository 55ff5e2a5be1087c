"""Agreement of each objective's learned density with the exact one, compared with ordinary density estimators.

    python -m benchmarks.fidelity [--quick] [--full] [--worlds NAME ...] [--objectives NAME ...] [--seeds N] [--steps N]

Hardware: any CPU. On two cores each world of the default run takes about 20 minutes, and --quick takes about three
minutes in all. --full adds five worlds to the default five. Results are written after every cell to
OUT/DEVICE/fidelity.json and fidelity.md (fidelity_quick with --quick); the same command continues an interrupted run.

Every objective is trained with the same small settings: an MLP with three layers of width 128, batches of 512, K = 4 D
within 16 to 128, and its default weight. Nothing is tuned to a world. The encoders see fresh samples in training; the
estimators are fitted to 10,000 samples; all are evaluated on the same fresh samples. The rows `linear` and `untrained`
are controls: the score of a linear encoder is constant, so it correlates with nothing, and an untrained encoder has
learned nothing.
"""

import dataclasses
import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.estimators import ESTIMATORS, FIT_SAMPLES
from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.config import MLP, Config, Data, Objective
from jepa_jax.data import Probe, Source, open_source
from jepa_jax.density import base_log_density, score_all
from jepa_jax.encoder import Encoder as Scored
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.objectives import TERMS
from jepa_jax.progress import progress
from jepa_jax.resolve import resolve
from jepa_jax.training.step import STEPS_PER_DISPATCH, make_trainer
from jepa_jax.worlds import WORLDS

QUICK_WORLDS = ("mixture_2d", "coupling_2d")
DEFAULT_WORLDS = ("mixture_2d", "mixture_8d", "moons", "banana", "coupling_2d")
FULL_WORLDS = (*DEFAULT_WORLDS, "mixture_32d", "rings", "checkerboard", "spiral", "coupling_8d")
VARIANTS = {
    "sigreg, K = D": Config(objective=Objective("sigreg")),
    "untrained": Config(),
    "linear": Config(encoder=MLP(widths=()), objective=Objective("vicreg")),
}
METRICS = {
    "spearman": "Spearman correlation of the score with the exact log-density",
    "log_density_spearman": "Spearman correlation of the corrected log-density, where the base distribution is known",
    "pearson": "Pearson correlation of the score",
    "slope": "Slope of the score against the exact log-density (1 is calibrated)",
    "seconds": "Seconds to train or fit, compilation included",
}
EPS = 1e-6
DISPATCH_STEPS = min(200, STEPS_PER_DISPATCH)  # Ctrl-C takes effect between dispatches


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    quick: bool = False
    """Run two worlds with one seed and 1,000 steps, unless other options override them."""
    full: bool = False
    """Run ten worlds instead of five."""
    worlds: tuple[str, ...] = ()
    """Names of worlds. () takes those of --quick, --full or the default."""
    objectives: tuple[str, ...] = ()
    """Names of rows: objectives, controls and estimators. () takes all."""
    seeds: int | None = None
    """Number of seeds of each row and world. None: 3, or 1 with --quick."""
    steps: int | None = None
    """Number of training steps. None: 3,000, or 1,000 with --quick."""
    probes: int = 4000
    """Number of fresh samples on which all rows are evaluated."""
    out: str = "benchmarks/results"
    """Folder of the results. fidelity.json and .md are written in its subfolder for the device, such as cpu."""


@dataclass(frozen=True)
class Plan:
    """Settings of a run, written beside the results. A run continues only results of the same plan.

    Attributes:
      worlds: Names of the worlds.
      rows: Names of the rows.
      seeds: Number of seeds of each row and world.
      steps: Number of training steps.
      probes: Number of samples on which all rows are evaluated.
    """

    worlds: tuple[str, ...]
    rows: tuple[str, ...]
    seeds: int
    steps: int
    probes: int

    def names(self) -> list[str]:
        """Return the names of the cells, WORLD/ROW/SEED."""
        return [f"{world}/{row}/{seed}" for world in self.worlds for row in self.rows for seed in range(self.seeds)]


def main(args: list[str]) -> int:
    """Run the benchmark.

    Returns:
      0; 1 if interrupted; 2 if the arguments are wrong.
    """

    def measure() -> Path:
        arguments = parse(Arguments, args, prog="python -m benchmarks.fidelity", description=__doc__ or "")
        plan = make_plan(arguments)
        out = results_folder(arguments.out)
        name = "fidelity_quick" if arguments.quick else "fidelity"
        run(plan, out, name, Console(stderr=True, highlight=False, soft_wrap=True))
        return out / f"{name}.md"

    return exit_status(measure)


def make_plan(arguments: Arguments) -> Plan:
    """Return the plan for the given options.

    Raises:
      ConfigError: A name is unknown, or a number is out of range.
    """
    quick = arguments.quick
    default = QUICK_WORLDS if quick else FULL_WORLDS if arguments.full else DEFAULT_WORLDS
    known_rows = (*TERMS, *VARIANTS, *ESTIMATORS)
    worlds, rows = arguments.worlds or default, arguments.objectives or known_rows
    for kind, names, known in (("world", worlds, set(WORLDS) - {"sprites"}), ("objective", rows, set(known_rows))):
        for name in names:
            if name not in known:
                raise ConfigError(f"unknown {kind} {name!r}{nearest(name, known)}")
    seeds, steps = arguments.seeds or (1 if quick else 3), arguments.steps or (1000 if quick else 3000)
    if min(seeds, steps) < 1 or arguments.probes < 8:
        raise ConfigError("--seeds and --steps must be at least 1, --probes at least 8")
    return Plan(tuple(worlds), tuple(rows), seeds, steps, arguments.probes)


def run(plan: Plan, out: Path, name: str, console: Console) -> None:
    """Measure every cell that has no result yet, and write both files after each.

    Args:
      plan: Settings of the run.
      out: Folder of the files.
      name: Name of the files without suffix.
      console: Console for progress.
    """
    file = out / f"{name}.json"
    about, cells = continued(file, json.loads(json.dumps(dataclasses.asdict(plan))))  # with lists, as in the file
    todo = [key for key in plan.names() if key not in cells]
    console.print(
        f"{file}: {len(cells)} cells of {about['date']}, {len(todo)} to measure; delete the file to start again"
    )
    write(out, name, about, cells, plan)
    with progress(console, len(todo), "cells") as bar:
        task = bar.task_ids[0]
        for world, group in itertools.groupby(todo, key=lambda key: key.split("/")[0]):
            source = open_source(Data(world))
            probe = source.probe(plan.probes)
            for key in group:
                bar.update(task, rate=key)
                _, row, seed = key.split("/")
                cells[key] = cell(source, probe, row, int(seed), plan)
                write(out, name, about, cells, plan)
                console.print(f"{key}: " + ", ".join(f"{k} {show(v)}" for k, v in cells[key].items()))
                bar.advance(task)


def cell(source: Source, probe: Probe, row: str, seed: int, plan: Plan) -> dict[str, Any]:
    """Measure the agreement of one row with the exact log-density on one world with one seed.

    Args:
      source: Dataset of the world.
      probe: Samples on which the row is evaluated, and their exact log-density.
      row: Name of the row.
      seed: Seed of the training or of the samples for the fit.
      plan: Settings of the run.
    """
    started = time.perf_counter()
    assert source.world is not None
    assert probe.log_density is not None
    if row in ESTIMATORS:
        fit = source.world.sample(jax.random.key(1000 + seed), FIT_SAMPLES)[0]
        learned = ESTIMATORS[row](np.asarray(fit, np.float64), np.asarray(probe.x, np.float64), seed)
        corrected, seconds = None, time.perf_counter() - started
    else:
        steps = 0 if row == "untrained" else plan.steps
        encoder = trained(recipe(row, source, seed, plan.steps), source, steps)
        seconds = time.perf_counter() - started
        learned, z, *_ = score_all(encoder, probe.x, EPS)
        logs = base_log_density(jnp.asarray(z), encoder.base)
        corrected = None if logs is None else learned + np.asarray(logs)
    found: dict[str, Any] = evaluate.agreement(learned, probe.log_density)._asdict()
    if corrected is not None:
        found["log_density_spearman"] = evaluate.agreement(corrected, probe.log_density).spearman
    return {k: None if np.isnan(v) else v for k, v in found.items()} | {"seconds": seconds}


def recipe(row: str, source: Source, seed: int, steps: int) -> Config:
    """Return the config of a row; rows differ only in their objective or variant."""
    config = VARIANTS.get(row) or Config(objective=Objective(row))  # type: ignore[arg-type]
    assert source.world is not None
    dim = source.shape[0] if row == "sigreg, K = D" else None
    assert isinstance(config.encoder, MLP)
    widths = config.encoder.widths and (128, 128, 128)
    return dataclasses.replace(
        config,
        steps=steps,
        seed=seed,
        data=Data(source.world.name, source.batch_size),
        encoder=dataclasses.replace(config.encoder, widths=widths, dim=dim),
    )


def trained(config: Config, source: Source, steps: int) -> Scored:
    """Return the encoder after the first `steps` steps of a config's run; 0 steps leave it untrained."""
    trainer = make_trainer(resolve(config, source), source)
    state = trainer.init()
    for start in range(0, steps, DISPATCH_STEPS):
        state, rows = trainer.run(state, source.arrays, start, min(steps, start + DISPATCH_STEPS))
        jax.block_until_ready(rows)
    return trainer.encoder(state)


def write(out: Path, name: str, about: dict[str, Any], cells: dict[str, dict[str, Any]], plan: Plan) -> None:
    """Write NAME.json and NAME.md with the cells that have been measured so far.

    Args:
      out: Folder of the files.
      name: Name of the files without suffix.
      about: Environment and settings.
      cells: Results of each cell.
      plan: Settings of the run.
    """
    over = f"over {plan.seeds} seeds" if plan.seeds > 1 else "of one seed"
    text = [f"# Fidelity of the learned density\n\nMean ± standard deviation {over}, {plan.steps} steps."]
    for metric, title in METRICS.items():
        lines = []
        for row in plan.rows:
            filled = [[cells.get(f"{world}/{row}/{s}") for s in range(plan.seeds)] for world in plan.worlds]
            if any(c is not None and metric in c for group in filled for c in group):
                lines.append([row, *(summary([c for c in group if c is not None], metric) for group in filled)])
        if lines:
            text += [f"## {title}", markdown_table(["", *plan.worlds], lines)]
    write_results(out, name, "\n\n".join(text), {"about": about, "cells": cells})


def summary(group: list[dict[str, Any]], metric: str) -> str:
    """Return the mean and standard deviation of a metric over the measured seeds, as text."""
    values = [c.get(metric) for c in group]
    known = [v for v in values if v is not None]
    if not known:
        return "constant" if values and all(metric in c for c in group) else "-"
    digits = 1 if metric == "seconds" else 3
    note = f" ({len(known)} of {len(values)})" if len(known) < len(values) else ""
    deviation = f" ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else ""
    return f"{np.mean(known):.{digits}f}{deviation}{note}"


def show(value: float | None) -> str:
    """Return a number as text for the terminal."""
    return "constant" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
