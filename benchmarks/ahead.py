"""Programs compiled for a TPU slice and a GPU that this machine does not have: memory, traffic and arithmetic.

    python -m benchmarks.ahead [--target NAME ...] [--out DIR]

Writes ahead.md and ahead.json after every program, beside what earlier calls with the same compilers found for others;
`make ahead` installs the compilers. Nothing runs: the figures are those of the compilers, and the times are at the peak
of the data sheet, which no program reaches.
"""

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding
from rich.console import Console

from benchmarks.report import exit_status, markdown_table, write_results
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.weights import random_vit
from jepa_jax.ahead import CompilerError, Requirements, Target, find_target, in_bytes, open_target, requirements
from jepa_jax.cli import parse
from jepa_jax.config import Config
from jepa_jax.data import open_source
from jepa_jax.data.abstract import abstract_source
from jepa_jax.density import random_directions
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.models.vit import ViT, vit_encoder
from jepa_jax.resolve import resolve
from jepa_jax.training import make_trainer
from jepa_jax.training.step import pipeline_of
from score.dry_run import score_requirements
from score.options import Arguments as Score
from score.pilot import projected
from score.views import many_views, one_view
from train.dry_run import step_requirements

TARGETS = ("v5e:2x4", "h100")
SEVERAL = ("v5e:2x4", "h100x8")
HEADER = ["program", "target", "peak", "of", "temporaries", "collectives", "host", "FLOPs", "at peak", "compiled in"]
PACKAGES = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin")

Compile = Callable[[Target, list[Any]], Requirements]


@dataclass(frozen=True)
class Arguments:
    """Command line of the benchmark."""

    target: tuple[str, ...] = ()
    """Devices to compile for, as in `python -m train --target`. (): those of each program."""
    program: tuple[str, ...] = ()
    """Programs to compile. (): all of them."""
    out: str = "benchmarks/results"
    """Folder for ahead.md and ahead.json."""


@dataclass(frozen=True)
class Program:
    """Program and the devices that it is compiled for.

    Attributes:
      compile: Compilation for a target.
      targets: Names of the targets.
    """

    compile: Compile
    targets: tuple[str, ...] = TARGETS


def step(name: str, *, each: int | None = None, shards: int = 1, compute: str | None = None) -> Compile:
    """Return the compilation of a training step of a config.

    Args:
      name: Name of the config.
      each: Number of samples on each device; None for the batch of the config.
      shards: Number of devices that share one copy of the parameters.
      compute: Precision of the step; None for that of the config.
    """
    config: Config = importlib.import_module(f"configs.{name}").get_config()
    optim = config.optim if compute is None else replace(config.optim, compute=compute)
    config = replace(config, optim=optim, mesh=replace(config.mesh, shard_parameters=shards))

    def compile_it(target: Target, devices: list[Any]) -> Requirements:
        data = config.data if each is None else replace(config.data, batch_size=each * len(devices))
        return step_requirements(replace(config, data=data), target, devices)

    return compile_it


def score(encoder: Callable[[], Encoder], each: int, **options: Any) -> Compile:
    """Return the compilation of a batch of scores.

    Args:
      encoder: Function that makes the encoder.
      each: Number of samples on each device.
      **options: As on the command line of `score`.
    """

    def compile_it(target: Target, devices: list[Any]) -> Requirements:
        batch = each * (options.get("devices") or len(devices))
        return score_requirements(encoder(), batch, target, devices, Score("", "", **options, batch_size=batch))[0]

    return compile_it


def views(name: str, count: int) -> Compile:
    """Return the compilation of random views, as `score --views` makes them, of one device.

    Args:
      name: Name of a config whose views are made of pictures.
      count: Number of views that are made at once.
    """
    config: Config = importlib.import_module(f"configs.{name}").get_config()

    def compile_it(target: Target, devices: list[Any]) -> Requirements:
        source = abstract_source(config.data)
        here = SingleDeviceSharding(devices[0])

        def array(*shape: int, dtype: Any) -> Any:
            return jax.ShapeDtypeStruct((count, *shape), dtype, sharding=here)

        numbers, pictures = array(dtype=jnp.int32), array(*source.shape, dtype=jnp.float32)
        make = jax.jit(many_views(one_view(pipeline_of(resolve(config, source), source), source.shape)))
        return requirements(make.trace(numbers, numbers, {"x": pictures}), target, 1, f"{count} views")

    return compile_it


def sketched(case: str, directions: int) -> Encoder:
    """Return random directions of the embedding of `vit`, whose Jacobian is a sketch."""
    encoder = vit(case)
    return projected(encoder, random_directions(jax.random.key(0), directions, encoder.dim))


def toy() -> Encoder:
    """Return an encoder of the config mixture_8d with random weights."""
    config = importlib.import_module("configs.mixture_8d").get_config()
    source = open_source(config.data)
    trainer = make_trainer(resolve(config, source), source)
    return trainer.encoder(trainer.init())


def vit(case: str) -> Encoder:
    """Return a vision transformer of `benchmarks.score_speed` with random weights."""
    sizes = CASES[case].vit or {}
    return vit_encoder(ViT(**sizes), jax.tree.map(jnp.asarray, random_vit(np.random.default_rng(0), **sizes)))


# The quick ones first. The last one has 32 times the devices and 32 times the batch of that before.
PROGRAMS: dict[str, Program] = {
    "train mixture_2d": Program(step("mixture_2d")),
    "train digits_lejepa": Program(step("digits_lejepa")),
    "train digits_ijepa": Program(step("digits_ijepa")),
    "score mixture_8d": Program(score(toy, 512, mode="forward")),
    "score mixture_8d along a tangent space": Program(score(toy, 512, tangent=2)),
    "score a ViT of two blocks": Program(score(partial(vit, "tiny"), 1)),
    "views of imagenet_lejepa": Program(views("imagenet_lejepa", 16)),
    "sketch ViT-S/14 at 98 px": Program(score(partial(sketched, "vit_s_98", 8), 1)),
    "score ViT-S/14 at 98 px": Program(score(partial(vit, "vit_s_98"), 1), (*TARGETS, "h100x8")),
    "score ViT-S/14 at 98 px on one device": Program(score(partial(vit, "vit_s_98"), 1, devices=1), ("v5e:2x4",)),
    "score ViT-S/14 at 98 px in bf16x3": Program(score(partial(vit, "vit_s_98"), 1, precision="bf16x3")),
    "score ViT-B/14 at 224 px in bf16x3": Program(score(partial(vit, "vit_b_224"), 1, precision="bf16x3")),
    "train imagenet_lejepa": Program(step("imagenet_lejepa"), SEVERAL),
    "train imagenet_lejepa, parameters on two devices": Program(step("imagenet_lejepa", shards=2), SEVERAL),
    "train imagenet_lejepa in float32": Program(step("imagenet_lejepa", compute="float32"), SEVERAL),
    "train imagenet_lejepa, 128 images a device": Program(step("imagenet_lejepa", each=128), ("v5e:2x4", "v5e:16x16")),
}


def run(folder: Path, targets: tuple[str, ...] = (), programs: tuple[str, ...] = ()) -> dict[str, Requirements]:
    """Compile programs for targets, and write the table after each.

    Args:
      folder: Folder for ahead.md and ahead.json, which must exist.
      targets: Names of the targets; () for those of each program.
      programs: Names of the programs; () for all.

    Returns:
      Requirements by `PROGRAM on TARGET`; without the programs that a compiler rejects, whose reason is in the table.

    Raises:
      ConfigError: If a target or a program is unknown, or a compiler is not installed.
    """
    unknown = set(programs) - set(PROGRAMS)
    if unknown:
        raise ConfigError(f"`program` cannot be {', '.join(sorted(unknown))}; known: {', '.join(PROGRAMS)}")
    planned = [(name, t) for name in programs or tuple(PROGRAMS) for t in targets or PROGRAMS[name].targets]
    opened = {t: open_target(find_target(t)) for _, t in planned}  # before anything is compiled
    found: dict[str, Requirements] = {}
    refused: dict[str, str] = {}
    console = Console(stderr=True)
    for name, target in planned:
        try:
            with console.status(f"{name} on {target}"):
                found[f"{name} on {target}"] = PROGRAMS[name].compile(find_target(target), opened[target])
        except CompilerError as error:
            refused[f"{name} on {target}"] = str(error)
        write(folder, found, refused)
        jax.clear_caches()  # each program is large
    return found


def write(folder: Path, found: dict[str, Requirements], refused: dict[str, str]) -> None:
    """Write ahead.json and ahead.md, with what other calls with the same compilers found for other programs."""
    about = versions()
    earlier, earlier_refused = stored(folder / "ahead.json", about)
    order = [f"{name} on {target}" for name, program in PROGRAMS.items() for target in program.targets]

    def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        both = {name: each for name, each in old.items() if name not in {*found, *refused}} | new
        return {name: both[name] for name in sorted(both, key=lambda name: order.index(name) if name in order else -1)}

    found, refused = merged(earlier, found), merged(earlier_refused, refused)
    rows = [cells(name.rpartition(" on ")[0], each) for name, each in found.items()]
    text = f"""Compiled without the device; nothing ran. `peak` is the memory of one device, `of` what a program may use
there. `host` is the most that one callback moves from and to a device. FLOPs are those of the matrix products in the
traced program, over all devices; `at peak` is their time at the rate of the data sheet, which no program reaches.

{markdown_table(HEADER, rows)}"""
    text += "".join(f"\n\n{name}: {reason}." for name, reason in refused.items())
    tree = {"about": about, "cells": {name: each.to_dict() for name, each in found.items()}, "refused": refused}
    write_results(folder, "ahead", text, tree)


def versions() -> dict[str, str]:
    """Return the versions of the compilers."""
    about = {}
    for package in PACKAGES:
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            continue
    return about


def stored(file: Path, about: dict[str, str]) -> tuple[dict[str, Requirements], dict[str, str]]:
    """Return the requirements and the refusals that are in ahead.json; none if they are of other compilers."""
    tree = json.loads(file.read_text()) if file.exists() else {}
    if tree.get("about") != about:
        return {}, {}
    names = [each.name for each in fields(Requirements)]
    found = {name: Requirements(**{key: cell[key] for key in names}) for name, cell in tree["cells"].items()}
    return found, tree["refused"]


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
