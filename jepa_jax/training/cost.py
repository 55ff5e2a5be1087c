"""Cost of a step: parameters, memory and arithmetic."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jepa_jax import config as cfg
from jepa_jax.data import is_stream
from jepa_jax.data.abstract import abstract_source
from jepa_jax.matmuls import matmul_flops
from jepa_jax.resolve import resolve
from jepa_jax.sharding import batch_sharding, check_batch, replicated
from jepa_jax.training.step import make_trainer


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


class Step(NamedTuple):
    """Step of a config for the devices of a mesh, without data.

    Attributes:
      batch: Batch size, B.
      parameters: Number of parameters of each network.
      traced: Trace of one dispatch, a `jax.stages.Traced`.
      data: Bytes of the data on each device.
    """

    batch: int
    parameters: dict[str, int]
    traced: Any
    data: int


def step_cost(config: cfg.Config, mesh: Mesh, batch: int) -> Cost:
    """Return the cost of a config's step on a mesh, which is compiled without data.

    Args:
      config: Config, which need not be resolved.
      mesh: Mesh of the devices.
      batch: Batch size, B, in place of the config's.

    Raises:
      ConfigError: As in `trace_step`.
    """
    step = trace_step(config, mesh, batch)
    analysis = step.traced.lower().compile().memory_analysis()
    memory = {
        "activations": analysis.temp_size_in_bytes,
        "state": max(0, analysis.argument_size_in_bytes - step.data),
        "data": step.data,
    }
    return Cost(step.batch, matmul_flops(step.traced.jaxpr.jaxpr), memory, step.parameters)


def trace_step(config: cfg.Config, mesh: Mesh, batch: int) -> Step:
    """Trace a config's step for the devices of a mesh, which this machine need not have.

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
    state = trainer.state
    parameters = {name: sum(a.size for a in jax.tree.leaves(tree)) for name, tree in state["params"].items()}
    whole = replicated(mesh)
    shardings = jax.tree.map(lambda a: whole, state) if trainer.shardings is None else trainer.shardings
    data = batch_sharding(mesh) if is_stream(config.data) else whole
    arrays = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=data), source.arrays)
    state = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), state, shardings)
    size = sum(_device_bytes(a) for a in jax.tree.leaves(arrays))
    return Step(source.batch_size, parameters, trainer.run.trace(state, arrays, 0, 1), size)


def _device_bytes(a: jax.ShapeDtypeStruct) -> int:
    assert a.sharding is not None
    return math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
