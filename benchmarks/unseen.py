"""Agreement of learned densities with the exact one on worlds that a seed draws, which no recipe was tuned to.

    python -m benchmarks.unseen [--seeds 0-19] [--rows NAME ...] [--samples N]

Hardware: any CPU. On two cores each seed takes about four minutes. Results are written after every cell to
OUT/DEVICE/unseen.json and unseen.md; the same command continues an interrupted run.

`automatic` is `python -m train arrays` without an option, and `arrays_infonce` the sphere encoder of that name.
`spline flow` is a masked autoregressive flow of rational quadratic splines, trained by maximum likelihood with FlowJAX,
which `pip install '.[flows]'` installs; it is measured where `--rows` names it. All rows are fitted to the same samples
and evaluated on the same fresh samples.
"""

import dataclasses
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.density import base_log_density, score_all
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.loading import load_run
from jepa_jax.progress import progress
from jepa_jax.training import fit
from jepa_jax.worlds import random
from train.config_files import find_config
from train.loop import train

EPS = 1e-6
USUAL_ROWS = ("automatic", "arrays_infonce", "KDE", "k-NN", "Gaussian mixture")
ROWS = (*USUAL_ROWS, "spline flow")
METRICS = {
    "spearman": "Spearman correlation with the exact log-density",
    "kl": "Mean of exact minus learned log-density on fresh samples, nats",
    "slope": "Slope of the learned against the exact log-density (1 is calibrated)",
    "seconds": "Seconds to train or fit, compilation included",
}


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    seeds: str = "0-19"
    """Seeds of the worlds: numbers and ranges, such as 0-19 or 3,7,20-24."""
    rows: tuple[str, ...] = ()
    """Rows to measure. () takes all but `spline flow`, which needs FlowJAX."""
    samples: int = 20_000
    """Number of training samples."""
    fresh: int = 4000
    """Number of fresh samples on which all rows are evaluated."""
    out: str = "benchmarks/results"
    """Folder of the results. unseen.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.unseen", description=__doc__ or "")
        seeds, rows = numbers(a.seeds), a.rows or USUAL_ROWS
        for row in rows:
            if row not in ROWS:
                raise ConfigError(f"unknown row {row!r}{nearest(row, ROWS)}")
        if "spline flow" in rows and find_spec("flowjax") is None:
            raise ConfigError("the row `spline flow` needs FlowJAX; pip install '.[flows]'")
        out = results_folder(a.out)
        run(a, seeds, rows, out, Console(stderr=True, highlight=False, soft_wrap=True))
        return out / "unseen.md"

    return exit_status(measure)


def numbers(text: str) -> list[int]:
    """Return the numbers in a list of numbers and ranges.

    Raises:
      ConfigError: If the text is none.
    """
    try:
        ends = [[int(n) for n in part.split("-")] for part in text.split(",")]
        return [n for part in ends for n in range(part[0], part[-1] + 1)]
    except ValueError:
        raise ConfigError(f"--seeds is {text}; write numbers and ranges, such as 0-19 or 3,7") from None


def run(a: Arguments, seeds: list[int], rows: tuple[str, ...], out: Path, console: Console) -> None:
    """Measure every cell that has no result yet, and write both files after each seed.

    Raises:
      ConfigError: If the folder holds results of other numbers of samples.
    """
    about, cells = continued(out / "unseen.json", {"samples": a.samples, "fresh": a.fresh})
    todo = [(seed, row) for seed in seeds for row in rows if row not in cells.get(str(seed), {})]
    with progress(console, len(todo), "cells") as bar:
        for seed, row in todo:
            bar.update(bar.task_ids[0], rate=f"{seed} {row}")
            cells.setdefault(str(seed), {})[row] = found = cell(seed, row, a.samples, a.fresh)
            write(out, about, cells)
            console.print(f"{seed} {random.kind(seed)}, {row}: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
            bar.advance(bar.task_ids[0])
    write(out, about, cells)


def cell(seed: int, row: str, samples: int, fresh: int) -> dict[str, float]:
    """Measure one row on one world.

    Args:
      seed: Seed of the world.
      row: One of ROWS.
      samples: Number of training samples.
      fresh: Number of fresh samples.
    """
    world = random.make(seed)
    known = np.asarray(world.sample(jax.random.key(1), samples)[0])
    judged = world.sample(jax.random.key(2), fresh)[0]
    exact = np.asarray(jax.lax.map(world.log_density, judged), np.float64)
    started, more, normalised = time.perf_counter(), {}, True
    if row == "automatic":
        learned, more = automatic(known, judged)
    elif row == "arrays_infonce":
        learned, normalised = infonce(known, judged), False
    elif row == "spline flow":
        learned = spline_flow(known, judged)
    else:
        mean, scale = known.mean(0), known.std(0)
        if row == "k-NN":
            distance = evaluate.knn_distance((known - mean) / scale, (np.asarray(judged) - mean) / scale, 10)
            learned, normalised = -known.shape[1] * np.log(distance), False
        else:
            found = evaluate.baselines(known, np.asarray(judged), mean, scale)
            learned = found.kde if row == "KDE" or found.gmm is None else found.gmm
    seconds = time.perf_counter() - started
    agreement = evaluate.agreement(learned, exact)
    result = {"spearman": agreement.spearman, "slope": agreement.slope, "seconds": seconds, **more}
    return result | ({"kl": float(np.mean(exact - learned))} if normalised else {})


def automatic(known: np.ndarray, judged: Any) -> tuple[np.ndarray, dict[str, float]]:
    """Return the log-density of fresh samples by the automatic recipe, and its nats on held-out samples."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", known)
        config = find_config("arrays")[1]
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, source=str(Path(folder) / "x.npy")),
            monitor=dataclasses.replace(config.monitor, figures=False),
        )
        summary = train(config, Path(folder) / "run", Console(quiet=True))
        encoder = load_run(Path(folder) / "run")
    learned = jax.jit(lambda xs: jax.lax.map(encoder.log_density, xs, batch_size=1024))(judged)
    return np.asarray(learned, np.float64), {
        name: summary[name] for name in ("heldout_nats", "heldout_nats_kde", "heldout_nats_gmm") if summary.get(name)
    }


def infonce(known: np.ndarray, judged: Any) -> np.ndarray:
    """Return the corrected score of fresh samples under a sphere encoder."""
    config = find_config("arrays_infonce")[1]
    encoder = fit(config, known)
    score, z, *_ = score_all(encoder, jnp.asarray(judged), EPS)
    base = base_log_density(jnp.asarray(z), encoder.base)
    return score if base is None else score + np.asarray(base)


def spline_flow(known: np.ndarray, judged: Any) -> np.ndarray:
    """Return the log-density of fresh samples by a flow of splines; a tenth of the rows says when to stop."""
    from flowjax.bijections import RationalQuadraticSpline  # optional
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow
    from flowjax.train import fit_to_data

    mean, scale = known.mean(0), known.std(0)
    weights_key, training_key = jax.random.split(jax.random.key(0))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        flow = masked_autoregressive_flow(
            weights_key,
            base_dist=Normal(jnp.zeros(known.shape[1])),
            transformer=RationalQuadraticSpline(knots=8, interval=4),
            flow_layers=4,
            nn_width=64,
            nn_depth=2,
        )
        flow, _ = fit_to_data(
            training_key,
            flow,
            (known - mean) / scale,
            learning_rate=1e-3,
            batch_size=256,
            max_epochs=60,
            max_patience=5,
            show_progress=False,
        )
        learned = jax.jit(jax.vmap(flow.log_prob))((jnp.asarray(judged) - mean) / scale)
    return np.asarray(learned, np.float64) - np.log(scale).sum()


def write(out: Path, about: dict[str, Any], cells: dict[str, dict[str, dict[str, float]]]) -> None:
    """Write unseen.json and unseen.md with the cells that have been measured so far."""
    text = [f"# Worlds drawn by a seed\n\n{about['samples']} training samples, {about['fresh']} fresh ones."]
    shown = [row for row in ROWS if any(row in found for found in cells.values())]
    for metric, title in METRICS.items():
        lines = []
        for name, of in (("median", np.median), ("lowest", np.min), ("highest", np.max)):
            columns = [
                [v for found in cells.values() if (v := found.get(row, {}).get(metric)) is not None] for row in shown
            ]
            lines.append([f"**{name}**", *(f"{of(column):.3f}" if column else "-" for column in columns)])
        for seed in sorted(cells, key=int):
            world = random.make(int(seed))
            values = [cells[seed].get(row, {}).get(metric) for row in shown]
            label = f"{seed}: {random.kind(int(seed))}, {world.shape[0]}-D"
            lines.append([label, *("-" if v is None else f"{v:.3f}" for v in values)])
        text += [f"## {title}", markdown_table(["", *shown], lines)]
    write_results(out, "unseen", "\n\n".join(text), {"about": about, "cells": cells})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
