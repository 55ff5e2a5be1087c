"""Meshes of devices, and the sharding of a program's arrays over them.

A mesh has two axes. Both divide the samples of a batch; `model` also divides the parameters (FSDP).
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError

AXES = ("data", "model")


def data_mesh(devices: Sequence[Any] | None = None, model: int = 1) -> Mesh:
    """Return a mesh of these devices.

    Args:
      devices: Devices in the order of the mesh; None uses the devices of this process.
      model: Number of devices that share one copy of the parameters; it must divide the number of devices.
    """
    devices = jax.local_devices() if devices is None else devices
    shape = (len(devices) // model, model)
    return jax.make_mesh(shape, AXES, (AxisType.Auto, AxisType.Auto), devices=devices)


def open_mesh(
    devices: Sequence[Any], count: int, model: int = 1, *, section: str = "", have: str = "there are"
) -> Mesh:
    """Return a mesh of the first `count` devices.

    Args:
      devices: Available devices.
      count: Number of devices to use.
      model: Number of devices that share one copy of the parameters.
      section: Text before the names of the fields in an error message.
      have: Text before the number of devices in an error message.

    Raises:
      ConfigError: If there are fewer devices, or they cannot be divided in this way.
    """
    if count > len(devices):
        raise ConfigError(f"`{section}devices` is {count}; {have} {len(devices)}")
    if count % model:
        raise ConfigError(f"`{section}shard_parameters` is {model}; it must divide the {count} devices")
    return data_mesh(devices[:count], model)


def training_mesh(options: cfg.Mesh, devices: Sequence[Any] | None = None) -> Mesh:
    """Return the mesh of a training run.

    It has the devices of all processes, or one device if a single process has several CPU devices.

    Args:
      options: Section `mesh` of the config.
      devices: Devices to choose from; None chooses from those of all processes.

    Raises:
      ConfigError: If a process would have no device in the mesh, or as in `open_mesh`.
    """
    devices = jax.devices() if devices is None else devices
    alone = devices[0].platform == "cpu" and jax.process_count() == 1
    count = options.devices or (1 if alone else len(devices))
    if count < len(devices) and jax.process_count() > 1:
        raise ConfigError("`mesh.devices` excludes some devices, but every process has to take part; leave it out")
    return open_mesh(devices, count, options.shard_parameters, section="mesh.")


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Check that the mesh can divide a batch.

    Args:
      batch_size: B.
      accumulate: Number of parts in which a batch passes through the networks.
      mesh: Mesh that divides each part.

    Raises:
      ConfigError: If it cannot; the message names the nearest sizes that work.
    """
    parts = mesh.size * accumulate
    if batch_size % parts:
        less, more = batch_size // parts * parts, -(-batch_size // parts) * parts
        what = f"{mesh.size} devices" + (f" in {accumulate} parts" if accumulate > 1 else "")
        raise ConfigError(
            f"a batch of {batch_size} cannot be divided among {what}; take `data.batch_size` "
            + (f"{less} or {more}" if less else f"{more}")
        )


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding of an array whose axis `axis` is the samples of a batch."""
    return NamedSharding(mesh, P(*(None,) * axis, AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that replicates an array on every device."""
    return NamedSharding(mesh, P())


def parameter_spec(shape: tuple[int, ...], parts: int, axis: str) -> P:
    """Return the partition of an array of this shape over `parts` devices.

    The array is divided along its longest side that is a multiple of `parts`; without such a side it is not divided.
    """
    sides = [i for i, n in enumerate(shape) if n % parts == 0]
    if parts == 1 or not sides:
        return P()
    longest = max(sides, key=lambda i: shape[i])
    return P(*(axis if i == longest else None for i in range(len(shape))))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Return the shardings of a training state from the shapes of its arrays.

    Each array is divided along the mesh axis `model` and replicated along `data`.
    """
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh.shape["model"], "model")), state)


def shard_parameters(f: Any, mesh: Mesh, axis: str = "model") -> Any:
    """Return a copy of an encoder, which may not fit on one device, with its arrays sharded over a mesh axis.

    Each array is divided along its longest side that the axis divides; arrays without such a side are replicated. **On
    virtual CPU devices set NPROC, the number of threads of XLA, well above the number of devices**, or they wait for
    each other forever.

    Args:
      f: A pytree, such as an `Encoder`.
      mesh: Mesh with the axis `axis`, and `data` for the samples.
      axis: Mesh axis that divides the arrays.
    """
    return jax.device_put(f, _parameter_shardings(f, mesh, axis))


def abstract_parameters(f: Any, mesh: Mesh, axis: str = "model") -> Any:
    """Return an encoder with abstract arrays, sharded as by `shard_parameters`, to compile it for other devices."""
    return jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), f, _parameter_shardings(f, mesh, axis)
    )


def _parameter_shardings(f: Any, mesh: Mesh, axis: str) -> Any:
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh.shape[axis], axis)), f)


def local_copy(tree: Any, mesh: Mesh) -> Any:
    """Gather whole arrays on this process's first device. All processes must call this function."""
    if mesh.size == 1:
        return tree
    whole = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda a: a.addressable_data(0), whole)
