"""The processes and devices of a run, and what of it lies where."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jepa_jax import config as cfg
from jepa_jax.density import data_mesh, parameter_spec
from jepa_jax.errors import ConfigError

AXES = ("data", "model")  # both divide the batch; the second also divides the parameters


def join(coordinator: str | None, processes: int | None, process: int | None, found: bool) -> None:
    """Meet the other processes, if there are any. Before anything else in jax.

    Args:
      coordinator: HOST:PORT of process 0.
      processes, process: how many there are, and which this is.
      found: let JAX find all three, on a TPU slice or a cluster.

    Raises:
      ConfigError: arguments that do not go together, or the processes cannot meet.
    """
    given = (coordinator, processes, process)
    if found and given != (None, None, None):
        raise ConfigError(
            "--distributed finds the processes by itself; leave out --coordinator, --processes, --process"
        )
    if any(v is None for v in given) and given != (None, None, None):
        raise ConfigError("--coordinator HOST:PORT, --processes N and --process I go together")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ConfigError(f"--process is {process}; with --processes {processes} it goes from 0 to {processes - 1}")
    if not (found or coordinator):
        return
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"the processes cannot meet: {lines[0]}") from None


def open_mesh(options: cfg.Mesh) -> Mesh:
    """The devices of all processes as a mesh with the axes `data` and `model`.

    Raises:
      ConfigError: there are fewer devices than asked for, or they cannot be divided so.
    """
    devices = jax.devices()
    alone = devices[0].platform == "cpu" and jax.process_count() == 1
    count = options.devices or (1 if alone else len(devices))
    if count > len(devices):
        raise ConfigError(f"--mesh.devices is {count}; there are {len(devices)}")
    if count < len(devices) and jax.process_count() > 1:
        raise ConfigError("--mesh.devices leaves some out, and every process has to take part; leave it out")
    if count % options.shard_parameters:
        raise ConfigError(f"--mesh.shard-parameters is {options.shard_parameters}; it must divide the {count} devices")
    return data_mesh(devices[:count], options.shard_parameters)


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Refuse a batch that cannot be divided.

    Raises:
      ConfigError: the numbers, and the nearest that work.
    """
    parts = mesh.size * accumulate
    if batch_size % parts:
        less, more = batch_size // parts * parts, -(-batch_size // parts) * parts
        what = f"{mesh.size} devices" + (f" in {accumulate} parts" if accumulate > 1 else "")
        raise ConfigError(
            f"a batch of {batch_size} cannot be divided among {what}; take --data.batch-size "
            + (f"{less} or {more}" if less else f"{more}")
        )


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Of an array whose axis `axis` counts the samples of a batch."""
    return NamedSharding(mesh, P(*(None,) * axis, AXES))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Of a run's state, by its shapes: spread over the axis `model`, and the same in all of `data`."""
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh.shape["model"], "model")), state)


def everywhere(mesh: Mesh) -> NamedSharding:
    """Of what every device has whole."""
    return NamedSharding(mesh, P())


def own_copy(tree: Any, mesh: Mesh) -> Any:
    """A tree of arrays, whole, on this process's first device. All processes take part."""
    if mesh.size == 1:
        return tree
    whole = jax.jit(lambda t: t, out_shardings=everywhere(mesh))(tree)
    return jax.tree.map(lambda a: a.addressable_data(0), whole)


def agree(steps: int, stop: bool) -> tuple[int, bool]:
    """The first process's number of steps, and whether any process was told to stop. All processes take part."""
    if jax.process_count() == 1:
        return steps, stop
    said = np.asarray(multihost_utils.process_allgather(np.array([steps, stop], np.int32)))
    return int(said[0, 0]), bool(said[:, 1].any())


def told_by_first(value: float) -> float:
    """The first process's value, in all of them. All processes take part."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))
