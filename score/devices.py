"""The processes and devices that share the work."""

from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jepa_jax.density import data_mesh
from jepa_jax.errors import ConfigError
from score.options import Arguments

PATIENCE_SECONDS = 7 * 24 * 3600  # how long a process that is done waits for the others: leaving first may end them


@dataclass(frozen=True)
class Share:
    """Which of the rows are this process's.

    Attributes:
      process, processes: number I of N.
    """

    process: int
    processes: int

    def bounds(self, total: int) -> tuple[int, int]:
        """First row, and one past the last."""
        return self.process * total // self.processes, (self.process + 1) * total // self.processes


def join(a: Arguments) -> Share:
    """Meet the other processes where the devices need it, and take this process's share. Before anything else in jax.

    No collective operation follows: the processes only share a folder.

    Raises:
      ConfigError: they cannot be found.
    """
    if not (a.distributed or a.coordinator):
        return Share(a.process or 0, a.processes or 1)
    try:
        jax.distributed.initialize(a.coordinator, a.processes, a.process, shutdown_timeout_seconds=PATIENCE_SECONDS)
    except (ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"the processes cannot meet: {lines[0]}") from None
    return Share(jax.process_index(), jax.process_count())


def open_mesh(a: Arguments) -> Mesh | None:
    """A mesh of this process's devices, or None where one device does all.

    Raises:
      ConfigError: there are fewer devices than asked for, or they cannot be divided so.
    """
    local = jax.local_devices()
    count = a.devices or len(local)
    if count > len(local):
        raise ConfigError(f"--devices is {count}; this process has {len(local)}")
    if count % a.shard_parameters:
        raise ConfigError(f"--shard-parameters is {a.shard_parameters}; it must divide the {count} devices")
    return None if count == 1 else data_mesh(local[:count], a.shard_parameters)
