"""Requirements of a training step, determined without data: parameters, memory and arithmetic."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from jepa_jax.ahead import Requirements, Target, conclude, in_bytes, open_target, requirements
from jepa_jax.config import Config
from jepa_jax.sharding import training_mesh
from jepa_jax.training.cost import step_cost, trace_step

PARTS_TRIED = (4, 16)  # factors of `optim.accumulate`, for a step that does not fit
BATCH_DIVISORS = (1, 2, 4)  # divisors of the config's batch size: the whole batch, a half, a quarter


def dry_run(config: Config, console: Console) -> None:
    """Compile the step for the available devices and print its requirements, for the config's batch and smaller ones.

    Raises:
      ConfigError: If the config is invalid, or the shape of a sample is known only after reading the data.
    """
    mesh = training_mesh(config.mesh)
    parameters: dict[str, int] = {}
    table = Table("batch", "FLOPs a step", "activations", "state", "data", "all", title="memory of one device")
    for divisor in BATCH_DIVISORS:
        batch = config.data.batch_size // divisor
        if divisor > 1 and batch % (mesh.size * config.optim.accumulate):
            continue
        cost = step_cost(config, mesh, batch)
        parameters, memory = cost.parameters, cost.memory
        cells = (memory["activations"], memory["state"], memory["data"], sum(memory.values()))
        table.add_row(str(cost.batch), f"{cost.flops:.3g}", *map(in_bytes, cells))
    kind = jax.devices()[0].device_kind
    console.print(
        f"{mesh.size} device(s) of kind {kind}, {config.optim.compute}, {config.optim.accumulate} part(s) a batch"
    )
    console.print("parameters: " + ", ".join(f"{name} {count:,}" for name, count in parameters.items()))
    console.print(table)
    console.print(
        "FLOPs: multiplications and additions in the matrix products of a step, over all devices. State: parameters, "
        "optimiser state and moving averages. Activations: memory that the compiler for these devices allocates."
    )
    if kind == "cpu":
        console.print("Another kind of device needs another amount of memory: add --target, or run it there.")


def dry_run_for(config: Config, target: Target, console: Console, file: str | None = None) -> None:
    """Compile the step for a target and print its requirements; if it does not fit, find options with which it does.

    Args:
      config: Config.
      target: Devices.
      console: Console for the tables.
      file: JSON to write, or None.

    Raises:
      ConfigError: As in `dry_run`, if the compiler is not installed, or if the step does not fit.
      CompilerError: If the compiler rejects the step for another reason.
    """
    devices = open_target(target)
    tried = (
        (options, partial(step_requirements, changed, target, devices))
        for options, changed in lighter(config, len(devices))
    )
    conclude(step_requirements(config, target, devices), tried, console, file)


def step_requirements(config: Config, target: Target, devices: Sequence[Any]) -> Requirements:
    """Return the requirements of a config's step on the devices of a target.

    Raises:
      ConfigError: As in `dry_run`.
      CompilerError: As in `dry_run_for`.
    """
    mesh = training_mesh(config.mesh, devices)
    step = trace_step(config, mesh, config.data.batch_size)
    return requirements(step.traced, target, mesh.size, f"a step of batch {step.batch}")


def lighter(config: Config, devices: int) -> Iterator[tuple[str, Config]]:
    """Yield options that need less memory than a config, from the cheapest in time, each with the config it gives."""
    optim, text = dataclasses.replace(config.optim, remat=True), ""
    if not config.optim.remat:
        text = "--optim.remat"
        yield text, dataclasses.replace(config, optim=optim)
    for more in PARTS_TRIED:
        parts = more * optim.accumulate
        accumulated = dataclasses.replace(config, optim=dataclasses.replace(optim, accumulate=parts))
        yield f"{text} --optim.accumulate {parts}".strip(), accumulated
    if devices > 1 and config.mesh.shard_parameters == 1:
        mesh = dataclasses.replace(config.mesh, shard_parameters=devices)
        text = f"{text} --mesh.shard-parameters {devices}".strip()
        yield text, dataclasses.replace(config, optim=optim, mesh=mesh)
    less = config.data.batch_size // 8
    if less:
        data = dataclasses.replace(config.data, batch_size=less)
        yield f"{text} --data.batch-size {less}".strip(), dataclasses.replace(config, optim=optim, data=data)
