"""Speed of training: against PyTorch, against a minimal step in JAX, against its input, and on an accelerator.

    python -m benchmarks.train_speed [--parts torch minimal limits input device] [--steps N] [--repeats N] [--out DIR]

Hardware: any; on two cores it takes about six minutes. Parts that cannot run on the machine are skipped, with a line
that gives the reason.

- `torch`: toy training against an eager PyTorch loop. Goal: 8 times its steps per second at batch 128 and width 64, and
  2.5 times at batch 512 and width 256, where arithmetic dominates. Requires torch: `pip install jepa-jax[torch]`, or
  `make bench`.
- `minimal`: our compiled step against a step written by hand in JAX. Goal: at most 1.15 times its time, and the same
  losses.
- `limits`: the time of each piece of a step (views, loss, gradient, optimiser), and what no loop can be faster than.
- `input`: the share of time in which the devices wait for images that are decoded from files. Goal: under 5 %.
- `device`: images per second of a ViT-S/16 at 224 px in bfloat16, and the share of the matrix-product rate. Requires an
  accelerator.

LOG.md records the results.
"""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
from rich.console import Console

from benchmarks.part import Part
from benchmarks.report import environment, results_folder, write_results
from benchmarks.train_device import on_device
from benchmarks.train_input import keeping_up
from benchmarks.train_limits import limits
from benchmarks.train_minimal import against_minimal
from benchmarks.train_torch import against_torch
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.training.step import STEPS_PER_DISPATCH


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    parts: tuple[Literal["torch", "minimal", "limits", "input", "device"], ...] = (
        "torch",
        "minimal",
        "limits",
        "input",
        "device",
    )
    """Parts to measure."""
    steps: int = 300
    """Training steps in each repetition of `torch`, `minimal` and `limits`; ours takes them in one dispatch."""
    repeats: int = 5
    """Number of repetitions; the contestants take turns in each."""
    out: str = "benchmarks/results"
    """Folder of the results. train_speed.json and .md are written in its subfolder for the device, such as cpu."""


PARTS: dict[str, Callable[[Arguments], Part]] = {
    "torch": lambda arguments: against_torch(arguments.steps, arguments.repeats),
    "minimal": lambda arguments: against_minimal(arguments.steps, arguments.repeats),
    "limits": lambda arguments: limits(arguments.steps, arguments.repeats),
    "input": lambda arguments: keeping_up(),
    "device": lambda arguments: on_device(),
}


def main(args: list[str]) -> int:
    """Run the parts that can run.

    Returns:
      0; 1 if losses disagree; 2 if the benchmark cannot run.
    """
    console = Console()
    try:
        arguments = parse(Arguments, args, prog="python -m benchmarks.train_speed", description=__doc__ or "")
        if not 1 <= arguments.steps <= STEPS_PER_DISPATCH or arguments.repeats < 1:
            raise ConfigError(f"--steps must be 1 to {STEPS_PER_DISPATCH}, --repeats at least 1")
        reasons = {name: missing(name) for name in arguments.parts}
        if all(reasons.values()):
            raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "no --parts")
        folder = results_folder(arguments.out)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5:
        console.print(f"the machine is busy (load {load}): do not quote ratios that are measured on a busy machine")
    found: dict[str, Part] = {}
    for name, reason in reasons.items():
        if reason:
            console.print(f"{name}: skipped, {reason}", markup=False, highlight=False, soft_wrap=True)
            continue
        with console.status(name):
            found[name] = PARTS[name](arguments)
        found[name].print(console)
        write(folder, found, arguments, load)
    return 0 if all(part.ok for part in found.values()) else 1


def missing(part: str) -> str | None:
    """Return the reason why a part cannot run on this machine, or None."""
    if part == "torch" and importlib.util.find_spec("torch") is None:
        return "torch is missing: pip install 'jepa-jax[torch]', or make bench"
    if part == "device" and jax.devices()[0].platform == "cpu":
        return "it needs an accelerator, and only a CPU was found"
    return None


def write(folder: Path, found: dict[str, Part], arguments: Arguments, load: float | None) -> None:
    """Write train_speed.json and train_speed.md with the parts that have been measured so far.

    Args:
      folder: Folder of the files.
      found: Results of each part.
      arguments: Options of the benchmark.
      load: Load average of the machine before the benchmark, or None where it is unknown.
    """
    about = {**environment(), "load": load, "steps": arguments.steps, "repeats": arguments.repeats}
    if "torch" in found:
        about["torch"] = importlib.metadata.version("torch")
    text = "\n\n".join(["# Speed of training", *(part.markdown() for part in found.values())])
    tree = {"about": about, **{name: part.rows for name, part in found.items()}}
    write_results(folder, "train_speed", text, tree)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
