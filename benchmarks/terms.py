"""Anti-collapse terms on one network that cannot fold, and noise and temperature of a sphere encoder.

    python -m benchmarks.terms [--parts terms sphere] [--steps N]

Hardware: any CPU. On two cores it takes about half an hour. Results are written after every cell to
OUT/DEVICE/terms.json and terms.md; the same command continues an interrupted run.

Part `terms`: every term trains the same triangular map (K = D, the same weights at the start, local noise) on the same
rows of a world that a seed draws. The weight of each term is swept over a hundredfold range, and the weight with the
best rank correlation counts, which favours the sampled terms; two more seeds of training follow at that weight. What
differs is only the term, as nothing can fold. Part `sphere`: InfoNCE on an MLP with an embedding of 4 D numbers, for
several noises and temperatures.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.config import MLP, Config, Data, Objective, Optim, Triangular
from jepa_jax.density import base_log_density, score_all
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.objectives import TERMS, term_of
from jepa_jax.progress import progress
from jepa_jax.training import fit
from jepa_jax.worlds import random

PARTS = ("terms", "sphere")
EPS = 1e-6
TERMS_WORLD = 27  # seed of the world: a thin curve in 2-D, so that half an hour is enough on two cores
SPHERE_WORLDS = (27, 25, 28)  # a thin curve in 2-D, heavy tails in 6-D, a manifold in 9-D
WEIGHTS = (0.1, 1.0, 10.0)  # times the default weight of the term
MORE_SEEDS = (1, 2)  # of training, at the best weight
FACTORS, TEMPERATURES = (0.1, 0.3, 1.0), (0.05, 0.2)
SPHERE_STEPS = 2  # times the steps of a triangular map


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    parts: tuple[str, ...] = PARTS
    """Parts to measure."""
    steps: int = 800
    """Training steps of a triangular map; a sphere encoder takes twice as many."""
    samples: int = 20_000
    """Number of training samples."""
    fresh: int = 4000
    """Number of fresh samples on which the density is compared with the exact one."""
    out: str = "benchmarks/results"
    """Folder of the results. terms.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.terms", description=__doc__ or "")
        for part in a.parts:
            if part not in PARTS:
                raise ConfigError(f"unknown part {part!r}{nearest(part, PARTS)}")
        out = results_folder(a.out)
        run(a, out, Console(stderr=True, highlight=False, soft_wrap=True))
        return out / "terms.md"

    return exit_status(measure)


def run(a: Arguments, out: Path, console: Console) -> None:
    """Measure every cell that has no result yet, and write both files after each.

    Raises:
      ConfigError: If the folder holds results of other arguments.
    """
    about, cells = continued(out / "terms.json", {"steps": a.steps, "samples": a.samples, "fresh": a.fresh})
    with progress(console, 0, "cells") as bar:
        for part in a.parts:
            for name, world, config in (terms if part == "terms" else sphere)(a, cells):
                if name not in cells:
                    bar.update(bar.task_ids[0], rate=name)
                    cells[name] = cell(world, config, a)
                    console.print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in cells[name].items()))
                    write_results(out, "terms", text(cells), {"about": about, "cells": cells})
    write_results(out, "terms", text(cells), {"about": about, "cells": cells})


def terms(a: Arguments, cells: dict[str, Any]) -> Iterator[tuple[str, int, Config]]:
    """Yield name, world and config of each cell on the triangular map; the last ones depend on the first."""
    for term in ("entropy", *TERMS):
        if term == "none":
            continue
        weights = [1.0] if term == "entropy" else WEIGHTS
        for weight in weights:
            yield f"{term} x{weight:g} seed 0", TERMS_WORLD, triangular(term, weight, 0, a.steps)
        best = best_weight(term, cells)
        for seed in MORE_SEEDS:
            yield f"{term} x{best:g} seed {seed}", TERMS_WORLD, triangular(term, best, seed, a.steps)


def best_weight(term: str, cells: dict[str, Any]) -> float:
    """Return the factor of a term's weight with the best rank correlation at the first seed."""
    found = {w: cells[name] for w in WEIGHTS if (name := f"{term} x{w:g} seed 0") in cells}
    return max(found, key=lambda w: found[w]["spearman"])


def triangular(term: Any, factor: float, seed: int, steps: int) -> Config:
    """Return the config of a triangular map that a term trains."""
    weight = factor * term_of(term).weight
    exact = term == "entropy"
    return Config(
        steps=steps,
        seed=seed,
        data=Data("", batch_size=512, noise="local"),
        encoder=Triangular(output="gaussian" if term_of(term).output == "free" else "torus"),
        objective=Objective(term, weight=weight, prediction_weight=0.0 if exact else 1.0),
        optim=Optim(lr=3e-3, clip_norm=50.0, ema=0.995),
    )


def sphere(a: Arguments, cells: dict[str, Any]) -> Iterator[tuple[str, int, Config]]:
    """Yield name, world and config of each cell on the sphere."""
    del cells
    for world in SPHERE_WORLDS:
        for factor in FACTORS:
            for temperature in TEMPERATURES:
                config = Config(
                    steps=SPHERE_STEPS * a.steps,
                    data=Data("", batch_size=512, noise="local", noise_factor=factor),
                    encoder=MLP(dim=None),
                    objective=Objective("infonce", temperature=temperature),
                    optim=Optim(lr=5e-3, ema=0.995),
                )
                yield f"sphere {world} c {factor:g} tau {temperature:g}", world, config


def cell(seed: int, config: Config, a: Arguments) -> dict[str, float]:
    """Train a config on a world and compare its density with the exact one.

    Args:
      seed: Seed of the world.
      config: Config without its data.
      a: Arguments of the benchmark.
    """
    world = random.make(seed)
    known = np.asarray(world.sample(jax.random.key(1), a.samples)[0])
    judged = world.sample(jax.random.key(2), a.fresh)[0]
    exact = np.asarray(jax.lax.map(world.log_density, judged), np.float64)
    started = time.perf_counter()
    encoder = fit(config, known)
    seconds = time.perf_counter() - started
    score, z, *_ = score_all(encoder, judged, EPS)
    if encoder.volume is not None:
        score = np.asarray(jax.jit(jax.vmap(encoder.log_volume))(judged), np.float64)
        base = base_log_density(jnp.asarray(z), "normal" if config.encoder.output == "gaussian" else "torus")
    else:
        base = base_log_density(jnp.asarray(z), encoder.base)
    assert base is not None
    learned = score + np.asarray(base, np.float64)
    reference = np.asarray(jax.jit(jax.vmap(encoder))(jnp.asarray(known[: evaluate.REFERENCE_SAMPLES])))
    size = min(known.shape[1], encoder.dim - encoder.null_directions)
    measured = score + evaluate.MeasuredLaw("knn", reference, size)(np.asarray(z))
    agreement, by_law = evaluate.agreement(learned, exact), evaluate.agreement(measured, exact)
    found = {"spearman": agreement.spearman, "slope": agreement.slope}
    if encoder.volume is not None:  # a density that integrates to 1
        found["kl"] = float(np.mean(exact - learned))
    return found | {"spearman_measured_law": by_law.spearman, "slope_measured_law": by_law.slope, "seconds": seconds}


def text(cells: dict[str, dict[str, float]]) -> str:
    """Return the tables of all cells that have been measured so far."""
    parts = ["# Anti-collapse terms, and noise of sphere encoders"]
    rows = []
    for term in ("entropy", *TERMS):
        if not any(name.startswith(f"{term} x") for name in cells):
            continue
        best = 1.0 if term == "entropy" else best_weight(term, cells)
        seeds = [cells[name] for s in (0, *MORE_SEEDS) if (name := f"{term} x{best:g} seed {s}") in cells]
        swept = [cells[name] for w in WEIGHTS if (name := f"{term} x{w:g} seed 0") in cells]
        rows.append(
            [
                f"`{term}`",
                f"{best * term_of(term).weight:g}",
                *(spread_of([cell[name] for cell in seeds]) for name in ("spearman", "kl", "slope")),
                spread_of([cell["spearman_measured_law"] for cell in seeds]),
                ", ".join(f"{cell['spearman']:.3f}" for cell in swept) if len(swept) > 1 else "",
                f"{np.mean([cell['seconds'] for cell in seeds]):.0f}",
            ]
        )
    if rows:
        header = ["term", "weight", "Spearman", "KL, nats", "slope", "Spearman, law measured", "by weight", "s"]
        parts += [
            f"## One triangular map, {random.kind(TERMS_WORLD)} in {random.make(TERMS_WORLD).shape[0]} dimensions",
            "Mean and standard deviation over seeds of training at the best weight; `by weight` is Spearman at 0.1, 1 "
            "and 10 times the default weight. KL and slope with the law that the term aims at.",
            markdown_table(header, rows),
        ]
    for world in SPHERE_WORLDS:
        lines = []
        for factor in FACTORS:
            for tau in TEMPERATURES:
                found = cells.get(f"sphere {world} c {factor:g} tau {tau:g}")
                if found:
                    names = ("spearman", "slope", "spearman_measured_law", "slope_measured_law")
                    lines.append([f"{factor:g}", f"{tau:g}", *(f"{found[name]:.3f}" for name in names)])
        if lines:
            header = ["c", "tau", "Spearman", "slope", "Spearman, law measured", "slope, law measured"]
            title = f"## Sphere encoder, {random.kind(world)} in {random.make(world).shape[0]} dimensions"
            parts += [title, markdown_table(header, lines)]
    return "\n\n".join(parts)


def spread_of(values: list[float]) -> str:
    """Return the mean and the standard deviation of values."""
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
