"""Planted failures, and which monitor catches each first.

    python -m benchmarks.planted [--worlds SEED ...] [--steps N]

Hardware: any CPU; about four minutes a world on two cores. Every failure is planted in a training on rows of worlds
that a seed draws; the monitor does not see the exact density, which is used only to say how wrong the density is. A
cell is the first look at which a monitor is beyond its threshold, or the last value if it never is. A failure may not
take on a world: where the rank correlation with the exact density is 0.8 or more after all, `healthy` is no mistake.
The exit status is 1 if a failure that took is called healthy at the end. Results go to OUT/DEVICE/planted.json and
planted.md after every world; the same command continues an interrupted run.
"""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.config import MLP, Config, Data, Encoder, Objective, Optim, Triangular
from jepa_jax.data import Samples
from jepa_jax.data.in_memory import from_samples
from jepa_jax.progress import progress
from jepa_jax.resolve import resolve
from jepa_jax.training import make_trainer
from jepa_jax.worlds import random
from train.monitor import Look, Monitor

WORLDS = (27, 25, 28, 26)  # seeds: a thin curve in 2-D, heavy tails in 6-D, a manifold in 9-D, edges in 3-D
LOOKS = 5
TOOK = 0.8  # rank correlation with the exact density below which a planted failure took


class Plant(NamedTuple):
    """Failure: what it is, and the config and the encoder with it.

    Attributes:
      encoder: Encoder section.
      objective: Objective section.
      data: Options of the data.
      lr: Learning rate.
      break_it: Function encoder -> the encoder with a failure that training does not make; or None.
    """

    encoder: Encoder
    objective: Objective
    data: dict[str, Any]
    lr: float = 5e-3
    break_it: Callable[[Any], Any] | None = None


def ignoring(column: int) -> Callable[[Any], Any]:
    """Return a function that makes an encoder blind for a column."""

    def broken(encoder: Any) -> Any:
        apply = encoder.apply
        return dataclasses.replace(encoder, apply=lambda params, x: apply(params, x.at[column].set(0.0)))

    return broken


NONE, SPHERE = Objective("none"), Objective("infonce", temperature=0.05)
PLANTS = {
    "none planted: triangular": Plant(
        Triangular(members=2), Objective("entropy", prediction_weight=0.0), {"noise": "local"}, 3e-3
    ),
    "none planted: sphere, local noise": Plant(MLP(dim=None), SPHERE, {"noise_factor": 0.3}),
    "collapse: no anti-collapse term": Plant(MLP(dim=None), NONE, {}),
    "folding: SIGReg with K = D": Plant(MLP(dim=2), Objective("sigreg"), {}),
    "noise wider than the structure": Plant(MLP(dim=None), Objective("infonce", temperature=0.2), {"noise": 1.5}),
    "anti-correlated: VICReg": Plant(MLP(dim=8), Objective("vicreg"), {"noise": 0.3}),
    "ignored column": Plant(MLP(dim=None), SPHERE, {"noise_factor": 0.3}, break_it=ignoring(1)),
    "untrained map": Plant(Triangular(), Objective("entropy", prediction_weight=0.0), {"noise": "local"}, 1e-9),
}
# Monitor -> (its value at a look, whether the value is a failure)
MONITORS: dict[str, tuple[Callable[[Look, float], float], Callable[[float], bool]]] = {
    "spread": (lambda look, _: float(look.metrics["embedding/spread"]), lambda v: v < 0.05),
    "effective rank": (lambda look, _: float(look.metrics["embedding/effective_rank"]), lambda v: v < 1.5),
    "folded": (lambda look, _: float(look.metrics["embedding/folded"]), lambda v: v > 0.15),
    "k-NN agreement": (lambda _, agreement: agreement, lambda v: not v >= 0.7),
    "nats above KDE": (lambda look, _: beside(look), lambda v: v < 0),
}


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    worlds: tuple[int, ...] = WORLDS
    """Seeds of the worlds."""
    steps: int = 1000
    """Training steps of each failure."""
    samples: int = 10_000
    """Number of training samples."""
    out: str = "benchmarks/results"
    """Folder of the results. planted.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if a failure is called healthy; 2 for wrong arguments."""
    wrong: list[str] = []

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.planted", description=__doc__ or "")
        out = results_folder(a.out)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        about, worlds = continued(out / "planted.json", {"steps": a.steps, "samples": a.samples})
        todo = [seed for seed in a.worlds if str(seed) not in worlds]
        with progress(console, len(todo) * len(PLANTS), "failures") as bar:
            for seed in todo:
                found = {}
                for name, plant in PLANTS.items():
                    bar.update(bar.task_ids[0], rate=f"{random.kind(seed)}, {name}")
                    found[name] = watch(plant, seed, a)
                    verdict = found[name]["verdicts"][-1]
                    console.print(f"{title(seed)}, {name}: {verdict}, Spearman {found[name]['spearman']:.3f}")
                    bar.advance(bar.task_ids[0])
                worlds[str(seed)] = found
                write_results(out, "planted", text(worlds), {"about": about, "cells": worlds})
        wrong.extend(f"{title(int(seed))}, {name}" for seed, found in worlds.items() for name in missed(found))
        write_results(out, "planted", text(worlds), {"about": about, "cells": worlds})
        return out / "planted.md"

    status = exit_status(measure)
    for name in wrong:
        print(f"called healthy: {name}", file=sys.stderr)
    return status or int(bool(wrong))


def missed(found: dict[str, Any]) -> list[str]:
    """Return the planted failures that took on a world and are called healthy at the end."""
    return [
        name
        for name, plant in found.items()
        if not name.startswith("none") and plant["verdicts"][-1] == "healthy" and not plant["spearman"] >= TOOK
    ]


def title(seed: int) -> str:
    """Return the name of a world: its seed, its kind and its dimension."""
    return f"{seed}: {random.kind(seed)}, {random.make(seed).shape[0]}-D"


def watch(plant: Plant, seed: int, a: Arguments) -> dict[str, Any]:
    """Train with a failure, and return what every monitor said at every look.

    Args:
      plant: Failure.
      seed: Seed of the world.
      a: Arguments of the benchmark.
    """
    world = random.make(seed)
    rows = np.asarray(world.sample(jax.random.key(1), a.samples)[0])
    config = Config(
        steps=a.steps,
        data=Data("x", 512, holdout=0.1, **plant.data),
        encoder=plant.encoder,
        objective=plant.objective,
        optim=Optim(lr=plant.lr, ema=0.98, clip_norm=50.0),
    )
    source = from_samples(Samples(rows, name="x"), config.data)
    config = resolve(config, source)
    trainer, monitor = make_trainer(config, source), Monitor(config, source)
    state, steps, looks = trainer.init(), [], []
    for look in range(LOOKS + 1):
        stop = look * a.steps // LOOKS
        if look:
            state, _ = trainer.run(state, source.arrays, steps[-1], stop)
        encoder = trainer.encoder(jax.tree.map(jnp.copy, state))
        encoder = plant.break_it(encoder) if plant.break_it else encoder
        if encoder.normalised and not look:
            monitor.held_out.fit_baselines()
        steps.append(stop)
        looks.append(monitor.look(encoder))
    judged = np.asarray(jax.lax.map(world.log_density, looks[-1].probe.x))
    agreements = [
        float(found) if (found := monitor.agreement(look.learned)) is not None else float("nan") for look in looks
    ]
    return {
        "steps": steps,
        "verdicts": [look.health.verdict for look in looks],
        "spearman": evaluate.agreement(looks[-1].learned, judged).spearman,
        "monitors": {
            name: [value(look, agreement) for look, agreement in zip(looks, agreements, strict=True)]
            for name, (value, _) in MONITORS.items()
        },
    }


def beside(look: Look) -> float:
    """Return the held-out nats less those of a kernel density estimate; NaN without a density in nats."""
    ours, kde = look.metrics.get("heldout_nats"), look.metrics.get("heldout_nats_kde")
    return float("nan") if ours is None or kde is None else float(ours) - float(kde)


def text(worlds: dict[str, Any]) -> str:
    """Return the tables of all failures, one for each world."""
    tables = [f"## {title(int(seed))}\n\n{table(found)}" for seed, found in worlds.items()]
    return "\n\n".join(["# Planted failures", *tables])


def table(found: dict[str, Any]) -> str:
    """Return the table of the failures on one world."""
    header = ["planted", "Spearman, exact", "verdict at the end", "first", *MONITORS]
    rows = []
    for name, plant in found.items():
        cells, first = [], {}
        for monitor, (_, failed) in MONITORS.items():
            values = plant["monitors"][monitor]
            trained = list(zip(plant["steps"], values, strict=True))[1:]
            caught = next(
                (step for step, v in trained if not (monitor == "nats above KDE" and v != v) and failed(v)), None
            )
            if caught is not None:
                first[monitor] = caught
            cells.append(
                f"step {caught}" if caught is not None else "-" if values[-1] != values[-1] else f"{values[-1]:.2f}"
            )
        earliest = [m for m, step in first.items() if step == min(first.values())]
        verdict = plant["verdicts"][-1]
        rows.append([name, f"{plant['spearman']:.3f}", f"`{verdict}`", ", ".join(earliest) or "none", *cells])
    return markdown_table(header, rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
