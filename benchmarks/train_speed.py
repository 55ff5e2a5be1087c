"""How fast training is: against PyTorch, against a minimal step in JAX, against its own input, and on an accelerator.

    python -m benchmarks.train_speed [--parts torch minimal input device] [--steps N] [--repeats N] [--out DIR]

Hardware: any; two cores take about five minutes. What cannot run here is left out, with a line that says why.

- `torch`: toy training against an eager PyTorch loop. Wanted: 8 times its steps per second at batch 128 and width 64,
  2.5 times at batch 512 and width 256, where arithmetic rules. Needs torch: `pip install jepa-jax[torch]`, or
  `make bench`.
- `minimal`: our compiled step against one written by hand in JAX. Wanted: at most 1.15 times its time, the same losses.
- `input`: the share of time in which the devices wait for images that are decoded from files. Wanted: under 5 %.
- `device`: images per second of a ViT-S/16 at 224 px in bfloat16, and the share of the matrix product rate. Needs an
  accelerator.

LOG.md says what was reached.
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
from benchmarks.report import environment, write_results
from benchmarks.train_device import on_device
from benchmarks.train_input import keeping_up
from benchmarks.train_minimal import against_minimal
from benchmarks.train_torch import against_torch
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.training.step import STEPS_PER_DISPATCH


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    parts: tuple[Literal["torch", "minimal", "input", "device"], ...] = ("torch", "minimal", "input", "device")
    """What to measure."""
    steps: int = 300
    """Steps of each repetition of `torch` and `minimal`, in one dispatch of ours."""
    repeats: int = 5
    """Repetitions of each, in turns."""
    out: str = "benchmarks/results"
    """Folder for train_speed.json and train_speed.md."""


PARTS: dict[str, Callable[[Arguments], Part]] = {
    "torch": lambda arguments: against_torch(arguments.steps, arguments.repeats),
    "minimal": lambda arguments: against_minimal(arguments.steps, arguments.repeats),
    "input": lambda arguments: keeping_up(),
    "device": lambda arguments: on_device(),
}


def main(args: list[str]) -> int:
    """Run the parts; 0, or 1 if losses disagree, 2 if the benchmark cannot run."""
    console = Console()
    try:
        arguments = parse(Arguments, args, prog="python -m benchmarks.train_speed", description=__doc__ or "")
        if not 1 <= arguments.steps <= STEPS_PER_DISPATCH or arguments.repeats < 1:
            raise ConfigError(f"--steps must be 1 to {STEPS_PER_DISPATCH}, --repeats at least 1")
        make_directory(Path(arguments.out))
        reasons = {name: missing(name) for name in arguments.parts}
        if all(reasons.values()):
            raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "no --parts")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5:
        console.print(f"the machine is busy (load {load}): ratios of a busy machine are not to be quoted")
    found: dict[str, Part] = {}
    for name, reason in reasons.items():
        if reason:
            console.print(f"{name}: skipped, {reason}", markup=False, highlight=False, soft_wrap=True)
            continue
        with console.status(name):
            found[name] = PARTS[name](arguments)
        found[name].print(console)
        write(found, arguments, load)
    return 0 if all(part.ok for part in found.values()) else 1


def missing(part: str) -> str | None:
    """Why a part cannot run here, or None."""
    if part == "torch" and importlib.util.find_spec("torch") is None:
        return "torch is missing: pip install 'jepa-jax[torch]', or make bench"
    if part == "device" and jax.devices()[0].platform == "cpu":
        return "it needs an accelerator, and there is only a CPU"
    return None


def write(found: dict[str, Part], arguments: Arguments, load: float | None) -> None:
    """Both files, with the parts that there are so far."""
    about = {**environment(), "load": load, "steps": arguments.steps, "repeats": arguments.repeats}
    if "torch" in found:
        about["torch"] = importlib.metadata.version("torch")
    text = "\n\n".join(["# Speed of training", *(part.markdown() for part in found.values())])
    tree = {"about": about, **{name: part.rows for name, part in found.items()}}
    write_results(Path(arguments.out), "train_speed", text, tree)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
