"""Requirements of the program that scores one batch, for the devices of this machine or others."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from jepa_jax.ahead import Requirements, Target, conclude, find_target, open_target, present_target, requirements
from jepa_jax.density import trace_batch
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.sharding import abstract_parameters, open_mesh

from .inputs import open_inputs
from .options import SCORE_OPTIONS, Arguments, check, check_rank
from .pilot import draw_pilot, sketch_encoder, sketch_options


def dry_run(a: Arguments, out: Console, notes: Console) -> None:
    """Compile the program of one batch and print its requirements; nothing is scored.

    Args:
      a: Arguments of the program.
      out: Console for the tables.
      notes: Console for notes about the model.

    Raises:
      ConfigError: If the arguments, the model or the data are invalid, the compiler is not installed, or the program
        does not fit.
      CompilerError: If the compiler rejects the program for another reason than its size.
    """
    check(a)
    # First of all, because it keeps this process from its own accelerators.
    target = present_target() if a.target is None else find_target(a.target)
    devices = open_target(target)
    encoder, samples = open_inputs(a, notes)
    check_rank(a, math.prod(encoder.shape), encoder.dim)
    if a.law not in (None, "assumed"):
        notes.print(f"note: --law {a.law} is computed by the host from the embeddings; the devices need no more for it")
    pilot = draw_pilot(a, encoder, samples)
    scored = samples if pilot is None else pilot.samples
    compile_with = partial(score_requirements, encoder, len(scored.x) * a.views, target, devices)
    found, batch = compile_with(a)
    beside = []
    if pilot is not None:
        notes.print("note: samples beside the pilot need an embedding each, which takes less than a score")
        if a.sketch:
            one = partial(score_requirements, sketch_encoder(a, encoder), len(samples.x), target, devices)
            beside.append(one(sketch_options(a), what="sketch")[0])
    tried = ((options, lambda c=changed: compile_with(c)[0]) for options, changed in lighter(a, batch, len(devices)))
    conclude(found, tried, out, a.json, beside)


def score_requirements(
    encoder: Encoder, count: int, target: Target, devices: Sequence[Any], a: Arguments, *, what: str = "score"
) -> tuple[Requirements, int]:
    """Return the requirements of the program of one batch, and its size.

    Args:
      encoder: Encoder.
      count: Number of samples, or views of them.
      target: Devices in words.
      devices: The devices.
      a: Arguments of the program.
      what: What the program computes of a sample.

    Raises:
      ConfigError: If an option is invalid for this encoder or these devices.
    """
    mesh = open_mesh(devices, a.devices or len(devices), a.shard_parameters, have=f"{target.name} has")
    try:
        traced, batch = trace_batch(
            encoder,
            abstract_parameters(encoder, mesh),
            jax.ShapeDtypeStruct(encoder.shape, jnp.float32),
            count,
            a.eps,
            **{name: getattr(a, name) for name in SCORE_OPTIONS},
            mesh=mesh,
            memory=target.memory,
            tangent_dim=a.tangent,
            batch_size=a.batch_size,
            values=a.method != "qr",
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    # A K x K matrix of each sample in float64, there and back.
    small = 2 * 8 * encoder.dim**2 * -(-batch // mesh.shape["data"])
    program = f"the {what} of {batch} samples"
    return requirements(traced, target, mesh.size, program, callback_limit=small), batch


def lighter(a: Arguments, batch: int, devices: int) -> Iterator[tuple[str, Arguments]]:
    """Yield options that need less memory, from the cheapest in time, each with the arguments it gives.

    Args:
      a: Arguments that do not fit.
      batch: Number of samples that are computed at once with them.
      devices: Number of devices.
    """
    for less in (batch // 4, devices):
        if devices <= less < batch:
            yield f"--batch-size {less}", dataclasses.replace(a, batch_size=less)
    a = dataclasses.replace(a, batch_size=devices)
    for chunk in (32, 4):
        if a.chunk is None or chunk < a.chunk:
            yield f"--batch-size {devices} --chunk {chunk}", dataclasses.replace(a, chunk=chunk)
    if devices > 1 and a.shard_parameters == 1:
        yield (
            f"--batch-size 1 --shard-parameters {devices}",
            dataclasses.replace(a, batch_size=1, shard_parameters=devices),
        )
