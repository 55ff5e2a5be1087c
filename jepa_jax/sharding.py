"""Meshes of devices, and how the arrays of a program are spread over them.

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
    """Mesh of these devices.

    Args:
      devices: in the order of the mesh; None takes this process's own.
      model: devices that share one copy of the parameters; it divides their number.
    """
    devices = jax.local_devices() if devices is None else devices
    shape = (len(devices) // model, model)
    return jax.make_mesh(shape, AXES, (AxisType.Auto, AxisType.Auto), devices=devices)


def open_mesh(
    devices: Sequence[Any], count: int, model: int = 1, *, section: str = "", have: str = "there are"
) -> Mesh:
    """Mesh of the first `count` devices.

    Args:
      devices: those that exist.
      count, model: how many to use, and how many of them share one copy of the parameters.
      section, have: what precedes the fields' names and the number of devices in an error message.

    Raises:
      ConfigError: there are fewer devices, or they cannot be divided in this way.
    """
    if count > len(devices):
        raise ConfigError(f"`{section}devices` is {count}; {have} {len(devices)}")
    if count % model:
        raise ConfigError(f"`{section}shard_parameters` is {model}; it must divide the {count} devices")
    return data_mesh(devices[:count], model)


def training_mesh(options: cfg.Mesh) -> Mesh:
    """Mesh of a training run: the devices of all processes, or one where a lone process has several CPU devices.

    Raises:
      ConfigError: a process would have no device in it, or as `open_mesh`.
    """
    devices = jax.devices()
    alone = devices[0].platform == "cpu" and jax.process_count() == 1
    count = options.devices or (1 if alone else len(devices))
    if count < len(devices) and jax.process_count() > 1:
        raise ConfigError("`mesh.devices` leaves some out, and every process has to take part; leave it out")
    return open_mesh(devices, count, options.shard_parameters, section="mesh.")


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Refuse a batch that the mesh cannot divide.

    Args:
      batch_size: B.
      accumulate: parts in which a batch goes through the networks.

    Raises:
      ConfigError: with the nearest sizes that work.
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
    """Sharding of an array whose axis `axis` counts the samples of a batch."""
    return NamedSharding(mesh, P(*(None,) * axis, AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding that copies an array to every device."""
    return NamedSharding(mesh, P())


def parameter_spec(shape: tuple[int, ...], parts: int, axis: str) -> P:
    """Partition of an array of this shape over `parts` devices, along its longest side that they divide, if any."""
    sides = [i for i, n in enumerate(shape) if n % parts == 0]
    if parts == 1 or not sides:
        return P()
    longest = max(sides, key=lambda i: shape[i])
    return P(*(axis if i == longest else None for i in range(len(shape))))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Shardings of a training state, by the shapes of its arrays: divided along `model`, copied along `data`."""
    return jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh.shape["model"], "model")), state)


def shard_parameters(f: Any, mesh: Mesh, axis: str = "model") -> Any:
    """Copy of an encoder whose arrays are spread over an axis of a mesh, for one that does not fit on one device.

    Each array is divided along its longest side that the axis divides; the others are on every device. **On virtual CPU
    devices set NPROC, XLA's number of threads, well above their number**, or they wait for each other forever.

    Args:
      f: a pytree, such as an `Encoder`.
      mesh: has `axis`, and `data` for the samples.
    """
    return jax.device_put(
        f, jax.tree.map(lambda a: NamedSharding(mesh, parameter_spec(a.shape, mesh.shape[axis], axis)), f)
    )


def local_copy(tree: Any, mesh: Mesh) -> Any:
    """Whole arrays on this process's first device. All processes take part."""
    if mesh.size == 1:
        return tree
    whole = jax.jit(lambda t: t, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda a: a.addressable_data(0), whole)
