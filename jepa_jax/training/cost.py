"""Cost of a step: parameters, memory and arithmetic."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jepa_jax import config as cfg
from jepa_jax.data import is_stream
from jepa_jax.data.abstract import abstract_source
from jepa_jax.resolve import resolve
from jepa_jax.sharding import batch_sharding, check_batch, replicated
from jepa_jax.training.step import Trainer, make_trainer


class Cost(NamedTuple):
    """Cost of one step.

    Attributes:
      batch: Batch size, B.
      flops: Products and sums of all matrix products, over all devices.
      memory: Bytes on each device for `activations`, `state` and `data`, as reported by the compiler.
      parameters: Number of parameters of each network.
    """

    batch: int
    flops: int
    memory: dict[str, int]
    parameters: dict[str, int]


def step_cost(config: cfg.Config, mesh: Mesh, batch: int) -> Cost:
    """Return the cost of a config's step on a mesh, which is compiled without data.

    Args:
      config: Config, which need not be resolved.
      mesh: Mesh of the devices.
      batch: Batch size, B, in place of the config's.

    Raises:
      ConfigError: If the config is invalid, or the shape of a sample cannot be found without reading the data.
    """
    source = abstract_source(dataclasses.replace(config.data, batch_size=batch))
    resolved = resolve(config, source)
    check_batch(source.batch_size, resolved.optim.accumulate, mesh)
    trainer = make_trainer(resolved, source, mesh)
    state, arrays = jax.eval_shape(trainer.init), source.arrays
    parameters = {name: sum(a.size for a in jax.tree.leaves(tree)) for name, tree in state["params"].items()}
    if mesh.size > 1:
        sharding = batch_sharding(mesh) if is_stream(config.data) else replicated(mesh)
        arrays = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), arrays)
        state = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), state, trainer.shardings)
    flops = matmul_flops(jax.make_jaxpr(trainer.run)(state, arrays, 0, 1).jaxpr)
    return Cost(source.batch_size, flops, step_memory(trainer, state, arrays), parameters)


def step_memory(trainer: Trainer, state: Any, arrays: Any) -> dict[str, int]:
    """Return the bytes on each device for `activations`, `state` and `data`, as reported by the compiler."""
    analysis = trainer.run.lower(state, arrays, 0, 1).compile().memory_analysis()
    data = sum(_device_bytes(a) for a in jax.tree.leaves(arrays))
    return {
        "activations": analysis.temp_size_in_bytes,
        "state": max(0, analysis.argument_size_in_bytes - data),
        "data": data,
    }


def matmul_flops(jaxpr: Any) -> int:
    """Return the products and sums of every matrix product in a program.

    A loop of known length counts as many times as it runs. The loop over steps has no known length and counts once.
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
