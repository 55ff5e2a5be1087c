"""Programs compiled for a TPU slice and a GPU that this machine does not have: memory, traffic and arithmetic.

    python -m benchmarks.ahead [--target NAME ...] [--out DIR]

Writes ahead.md and ahead.json after every program; `make ahead` installs the compilers. Nothing runs: the figures are
those of the compilers, and the times are at the peak of the data sheet, which no program reaches.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import exit_status, markdown_table
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.weights import random_vit
from jepa_jax.ahead import CompilerError, Requirements, Target, find_target, in_bytes, open_target
from jepa_jax.cli import parse
from jepa_jax.config import Config
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.models.vit import ViT, vit_encoder
from score.dry_run import score_requirements
from score.options import Arguments as Score
from train.dry_run import step_requirements

TARGETS = ("v5e:2x4", "h100")
HEADER = ["program", "target", "peak", "of", "temporaries", "collectives", "host", "FLOPs", "at peak", "compiled in"]
PACKAGES = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin")

Compile = Callable[[Target, list[Any]], Requirements]


@dataclass(frozen=True)
class Arguments:
    """Command line of the benchmark."""

    target: tuple[str, ...] = TARGETS
    """Devices to compile for, as in `python -m train --target`."""
    program: tuple[str, ...] = ()
    """Programs to compile. (): all of them."""
    out: str = "benchmarks/results"
    """Folder for ahead.md and ahead.json."""


def step(name: str) -> Compile:
    """Return the compilation of a training step of a config."""
    config: Config = importlib.import_module(f"configs.{name}").get_config()
    return lambda target, devices: step_requirements(config, target, devices)


def score(encoder: Callable[[], Encoder], each: int, **options: Any) -> Compile:
    """Return the compilation of a batch of scores.

    Args:
      encoder: Function that makes the encoder.
      each: Number of samples on each device.
      **options: As on the command line of `score`.
    """
    return lambda target, devices: score_requirements(
        encoder(),
        each * len(devices),
        target,
        devices,
        Score("", "", batch_size=each * len(devices), **options),
    )[0]


def toy() -> Encoder:
    """Return an encoder of the config mixture_8d with random weights."""
    from jepa_jax.data import open_source
    from jepa_jax.resolve import resolve
    from jepa_jax.training import make_trainer

    config = importlib.import_module("configs.mixture_8d").get_config()
    source = open_source(config.data)
    trainer = make_trainer(resolve(config, source), source)
    return trainer.encoder(trainer.init())


def vit_s() -> Encoder:
    """Return a ViT-S/14 of 98 pixels with random weights."""
    sizes = CASES["vit_s_98"].vit or {}
    return vit_encoder(ViT(**sizes), jax.tree.map(jnp.asarray, random_vit(np.random.default_rng(0), **sizes)))


# In the order of their compilation, the quick ones first.
PROGRAMS: dict[str, Compile] = {
    "train mixture_2d": step("mixture_2d"),
    "train digits_lejepa": step("digits_lejepa"),
    "train digits_ijepa": step("digits_ijepa"),
    "score mixture_8d": score(toy, 512, mode="forward"),
    "score mixture_8d along a tangent space": score(toy, 512, tangent=2),
    "score ViT-S/14 at 98 px": score(vit_s, 1),
}


def run(folder: Path, targets: tuple[str, ...] = TARGETS, programs: tuple[str, ...] = ()) -> dict[str, Requirements]:
    """Compile programs for targets, and write the table after each.

    Args:
      folder: Folder for ahead.md and ahead.json, which must exist.
      targets: Names of the targets.
      programs: Names of the programs; () for all.

    Returns:
      Requirements by `PROGRAM on TARGET`; without the programs that a compiler rejects, whose reason is in the table.

    Raises:
      ConfigError: If a target or a program is unknown, or a compiler is not installed.
    """
    unknown = set(programs) - set(PROGRAMS)
    if unknown:
        raise ConfigError(f"`program` cannot be {', '.join(sorted(unknown))}; known: {', '.join(PROGRAMS)}")
    opened = {name: open_target(find_target(name)) for name in targets}  # before anything is compiled
    found: dict[str, Requirements] = {}
    refused: dict[str, str] = {}
    for name in programs or tuple(PROGRAMS):
        for target, devices in opened.items():
            try:
                found[f"{name} on {target}"] = PROGRAMS[name](find_target(target), devices)
            except CompilerError as error:
                refused[f"{name} on {target}"] = str(error)
            write(folder, found, refused)
            jax.clear_caches()  # each program is large
    return found


def write(folder: Path, found: dict[str, Requirements], refused: dict[str, str]) -> None:
    """Write ahead.json and ahead.md."""
    from importlib.metadata import PackageNotFoundError, version

    from benchmarks.report import write_results

    about = {}
    for package in PACKAGES:
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            continue
    rows = [cells(name.rpartition(" on ")[0], each) for name, each in found.items()]
    text = f"""Compiled without the device; nothing ran. `peak` is the memory of one device, `of` what a program may use
there. `host` is the most that one callback moves from and to a device. FLOPs are those of the matrix products in the
traced program, over all devices; `at peak` is their time at the rate of the data sheet, which no program reaches.

{markdown_table(HEADER, rows)}"""
    text += "".join(f"\n\n{name}: {reason}." for name, reason in refused.items())
    tree = {"about": about, "cells": {name: each.to_dict() for name, each in found.items()}, "refused": refused}
    write_results(folder, "ahead", text, tree)


def cells(name: str, found: Requirements) -> list[str]:
    """Return the row of the table in markdown."""
    return [
        name,
        found.target,
        in_bytes(found.memory["peak"]) + ("" if found.fits else " (does not fit)"),
        in_bytes(found.available),
        in_bytes(found.memory.get("temporaries")),
        ", ".join(f"{n} {kind}" for kind, n in found.collectives.items()) or "none",
        in_bytes(found.callback_bytes) if found.callbacks else "none",
        f"{found.flops:.3g}",
        "unknown" if found.seconds is None else f"{1e3 * found.seconds:.3g} ms",
        f"{found.compile_seconds:.0f} s",
    ]


def measure(arguments: Arguments) -> Path:
    """Run the benchmark and return the path of the table."""
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    run(folder, arguments.target, arguments.program)
    return folder / "ahead.md"


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status."""
    description = (__doc__ or "").split("\n\n")[0]
    return exit_status(
        lambda: measure(parse(Arguments, args, prog="python -m benchmarks.ahead", description=description))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
