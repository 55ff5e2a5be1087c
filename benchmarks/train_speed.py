"""Toy training against an eager PyTorch loop of the same model, batch, loss and optimiser, on the same cores.

    python -m benchmarks.train_speed [--steps N] [--repeats N] [--out DIR]

Hardware: any CPU; two cores take about two minutes. Needs torch: `pip install jepa-jax[torch]`, or `make bench`.
Wanted: 8 times PyTorch's steps per second at batch 128 and width 64, 2.5 times at batch 512 and width 256, where
arithmetic rules; LOG.md says what was reached.

Both make their batch inside the loop, take one step of AdamW with warm-up and cosine decay, and work in float32. They
take turns in one process after a warm-up: the ratio is the result, the rates belong to the machine. PyTorch gets the
number of threads, one or all cores, that suits it better (its fused AdamW was tried too, and differs by some 10 %).
Before the clock starts, both are trained on the same views from the same weights, and their losses are compared.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.report import environment, markdown_table, write_results
from jepa_jax.command import parse
from jepa_jax.config import Config, ConfigError, Data, Encoder, Optim
from jepa_jax.data import Source, open_source
from jepa_jax.files import make_directory
from jepa_jax.resolve import resolve
from train.step import STEPS_PER_DISPATCH, make_trainer

CHECKED_STEPS = 20  # of the comparison of losses
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    steps: int = 300
    """Steps of each repetition, in one dispatch of ours."""
    repeats: int = 5
    """Repetitions of each, in turns."""
    out: str = "benchmarks/results"
    """Folder for train_speed.json and train_speed.md."""


@dataclass(frozen=True)
class Case:
    """A model and batch size, and the ratio of steps per second that is claimed for it."""

    batch: int
    width: int
    bar: float

    @property
    def config(self) -> Config:
        """Uniformity on the sphere in 16 dimensions, on eight Gaussians in the plane."""
        encoder = Encoder(widths=(self.width,) * 3, dim=16)
        return Config(data=Data("mixture_2d", self.batch), encoder=encoder, optim=Optim(weight_decay=1e-4))


CASES = (Case(128, 64, 8.0), Case(512, 256, 2.5))


def main(args: list[str]) -> int:
    """Run both cases; 0, or 1 if the losses disagree, 2 if the benchmark cannot run."""
    try:
        arguments = parse(Arguments, args, prog="python -m benchmarks.train_speed", description=__doc__ or "")
        if not 1 <= arguments.steps <= STEPS_PER_DISPATCH or arguments.repeats < 1:
            raise ConfigError(f"--steps must be 1 to {STEPS_PER_DISPATCH}, --repeats at least 1")
        make_directory(Path(arguments.out))
        import torch
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError:
        print("error: torch is missing: pip install 'jepa-jax[torch]', or make bench", file=sys.stderr)
        return 2
    console = Console()
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5:
        console.print(f"the machine is busy (load {load}): ratios of a busy machine are not to be quoted")
    rows = []
    for case in CASES:
        with console.status(f"batch {case.batch}, width {case.width}"):
            rows.append(measure(case, arguments))
    report(rows, arguments, console, {"torch": torch.__version__, "load": load})
    return 0 if all(row["losses_agree"] for row in rows) else 1


def measure(case: Case, arguments: Arguments) -> dict[str, Any]:
    """Time one case: medians and spreads of steps per second over the repetitions."""
    from benchmarks.torch_peer import Peer

    source = open_source(case.config.data)
    config = resolve(case.config, source)
    differences = loss_differences(config, source)
    peer = Peer(config, initial_params(config, source))
    threads = peer.choose_threads()
    contestants = {"ours": ours(config, source, arguments.steps), "torch": peer.runner(arguments.steps)}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(arguments.repeats + 1):
        for name, take_steps in contestants.items():
            started = time.perf_counter()
            take_steps()
            if repeat:  # the first is the warm-up
                rates[name].append(arguments.steps / (time.perf_counter() - started))
    ratios = np.array(rates["ours"]) / np.array(rates["torch"])
    return {
        "batch": case.batch,
        "width": case.width,
        "torch_threads": threads,
        "steps_per_second": {name: spread(values) for name, values in rates.items()},
        "ratio": spread(ratios),
        "bar": case.bar,
        "reached": bool(np.median(ratios) >= case.bar),
        "loss_difference_first_step": float(differences[0]),
        f"loss_difference_{CHECKED_STEPS}_steps": float(differences.max()),
        "losses_agree": bool(differences.max() < TOLERANCE),
    }


def spread(values: Any) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": float(np.median(values)), "min": float(np.min(values)), "max": float(np.max(values))}


def ours(config: Config, source: Source, steps: int) -> Callable[[], None]:
    """A function that takes the steps in one dispatch and waits for the device."""
    trainer = make_trainer(config, source)
    carried = [trainer.init()]

    def take_steps() -> None:
        carried[0], rows = trainer.run(carried[0], source.arrays, 0, steps)
        jax.block_until_ready((carried[0], rows))

    return take_steps


def initial_params(config: Config, source: Source) -> Any:
    """Our encoder's initial weights."""
    return jax.device_get(make_trainer(config, source).init()["params"]["encoder"])


def loss_differences(config: Config, source: Source) -> np.ndarray:
    """Absolute differences of our losses from PyTorch's, over steps from the same weights on the same views."""
    from benchmarks.torch_peer import Peer

    views = jax.jit(source.views)(source.arrays, jax.random.key(1))
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, warmup_steps=CHECKED_STEPS // 2))
    fixed = dataclasses.replace(source, views=lambda arrays, key: arrays, arrays=views)
    trainer = make_trainer(config, fixed)
    peer = Peer(config, initial_params(config, fixed))
    _, rows = trainer.run(trainer.init(), jnp.asarray(views), 0, CHECKED_STEPS)
    theirs = [peer.step(np.asarray(views)) for _ in range(CHECKED_STEPS)]
    return np.abs(np.asarray(rows)[:CHECKED_STEPS, 0] - np.array(theirs))


def report(rows: list[dict[str, Any]], arguments: Arguments, console: Console, extra: dict[str, Any]) -> None:
    """Print the table and write both files."""
    header = ["batch, width", "ours/s", "PyTorch/s", "threads", "ratio", "bar", "losses apart"]
    table = Table(*header, title="Toy training, ours against eager PyTorch")
    lines = []
    for row in rows:
        rate = row["steps_per_second"]
        cells = [
            f"{row['batch']}, {row['width']}",
            f"{rate['ours']['median']:.0f}",
            f"{rate['torch']['median']:.0f}",
            str(row["torch_threads"]),
            f"{row['ratio']['median']:.1f} ({row['ratio']['min']:.1f} to {row['ratio']['max']:.1f})",
            f"{row['bar']:g}: {'reached' if row['reached'] else 'MISSED'}",
            f"{row[f'loss_difference_{CHECKED_STEPS}_steps']:.1e}",
        ]
        table.add_row(*cells)
        lines.append(cells)
    console.print(table)
    for row in rows:
        verdict = "agree" if row["losses_agree"] else "DISAGREE"
        console.print(
            f"batch {row['batch']}: the losses {verdict}: {row['loss_difference_first_step']:.1e} apart at the first "
            f"step, at most {row[f'loss_difference_{CHECKED_STEPS}_steps']:.1e} over {CHECKED_STEPS} steps"
        )
    text = f"""# Toy training, ours against eager PyTorch

Steps per second, median of {arguments.repeats} repetitions of {arguments.steps} steps, in turns in one process.
The ratio (least to greatest) is taken repetition by repetition. PyTorch runs on one thread or on all cores, whichever
is faster.
The losses' distance is the largest over {CHECKED_STEPS} steps from the same weights on the same views.

"""
    about = {**environment(), **extra, "steps": arguments.steps, "repeats": arguments.repeats}
    write_results(
        Path(arguments.out), "train_speed", text + markdown_table(header, lines), {"about": about, "cases": rows}
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
