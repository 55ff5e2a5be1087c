"""What a step needs, without data: parameters, memory, arithmetic."""

import dataclasses
import math
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from jepa_jax.config import Config, check
from jepa_jax.data import is_stream
from jepa_jax.data.abstract import abstract_source
from jepa_jax.models import build_parts
from jepa_jax.resolve import resolve
from jepa_jax.sharding import batch_sharding, check_batch, replicated, training_mesh
from train.step import Trainer, make_trainer

SHARES = (1, 2, 4)  # of the config's batch: the whole, a half, a quarter


def dry_run(config: Config, console: Console) -> None:
    """Compile the step for the devices at hand and print what it needs, for the config's batch and smaller ones.

    Raises:
      ConfigError: the config is wrong, or the shape of a sample is only to be had by reading the data.
    """
    check(config)
    mesh = training_mesh(config.mesh)
    parameters: dict[str, int] = {}
    table = Table("batch", "FLOPs a step", "activations", "state", "data", "all", title="memory of one device")
    for share in SHARES:
        batch = config.data.batch_size // share
        if share > 1 and batch % (mesh.size * config.optim.accumulate):
            continue
        source = abstract_source(dataclasses.replace(config.data, batch_size=batch))
        resolved = resolve(config, source)
        check_batch(source.batch_size, resolved.optim.accumulate, mesh)
        trainer = make_trainer(resolved, source, mesh)
        state = jax.eval_shape(trainer.init)
        parts = build_parts(resolved, source.shape)
        parameters = {name: _count(state["params"][name]) for name in parts}
        arrays = source.arrays
        if mesh.size > 1:
            sharding = batch_sharding(mesh) if is_stream(config.data) else replicated(mesh)
            arrays = jax.tree.map(lambda a, s=sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), arrays)
            state = jax.tree.map(
                lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), state, trainer.shardings
            )
        memory = measure(trainer, state, arrays)
        flops = matmul_flops(jax.make_jaxpr(trainer.run)(state, arrays, 0, 1).jaxpr)
        cells = (memory["activations"], memory["state"], memory["data"], sum(memory.values()))
        table.add_row(str(source.batch_size), f"{flops:.3g}", *map(_bytes, cells))
    kind = jax.devices()[0].device_kind
    console.print(
        f"{mesh.size} device(s) of kind {kind}, {config.optim.compute}, {config.optim.accumulate} part(s) a batch"
    )
    console.print("parameters: " + ", ".join(f"{name} {count:,}" for name, count in parameters.items()))
    console.print(table)
    console.print(
        "FLOPs: products and sums of all matrix products of a step, on all devices together. State: parameters, "
        "optimiser and moving averages. Activations: what the compiler for this kind of device sets aside."
    )
    if kind == "cpu":
        console.print("Another kind of device needs other memory: on it, this command prints its own numbers.")


def measure(trainer: Trainer, state: Any, arrays: Any) -> dict[str, int]:
    """Bytes on each device, by the compiler's own account."""
    analysis = trainer.run.lower(state, arrays, 0, 1).compile().memory_analysis()
    data = sum(_device_bytes(a) for a in jax.tree.leaves(arrays))
    return {
        "activations": analysis.temp_size_in_bytes,
        "state": max(0, analysis.argument_size_in_bytes - data),
        "data": data,
    }


def matmul_flops(jaxpr: Any) -> int:
    """Products and sums of every matrix product in a program; what a loop of known length repeats counts so often.

    The loop over steps has no known length and counts once.
    """
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_flops(equation)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                total += times * matmul_flops(getattr(inner, "jaxpr", inner))
    return total


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _dot_flops(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _device_bytes(a: Any) -> int:
    sharding = getattr(a, "sharding", None)
    shape = a.shape if sharding is None else sharding.shard_shape(a.shape)
    return math.prod(shape) * a.dtype.itemsize


def _count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
