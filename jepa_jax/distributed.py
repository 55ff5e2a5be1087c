"""Groups of processes: how they connect, what they exchange, and how they divide rows."""

import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jepa_jax.errors import ConfigError, first_line


@dataclass(frozen=True)
class Share:
    """The share of the rows that belongs to one of several processes.

    Attributes:
      process: Index of this process.
      processes: Number of processes.
    """

    process: int
    processes: int

    def bounds(self, total: int) -> tuple[int, int]:
        """Return the first row of this process, and one past its last."""
        return self.process * total // self.processes, (self.process + 1) * total // self.processes


def check_processes(
    coordinator: str | None, processes: int | None, process: int | None, distributed: bool, *, together: bool
) -> None:
    """Check that the description of a group of processes does not contradict itself.

    Args:
      coordinator: HOST:PORT of process 0; None for processes that do not connect.
      processes: Number of processes.
      process: Index of this process.
      distributed: Whether JAX determines all three, on a TPU slice or a cluster.
      together: Whether the processes compute one result together, so that they need a coordinator.

    Raises:
      ConfigError: If there is a contradiction; the message names the first one.
    """
    if distributed and not (coordinator is processes is process is None):
        raise ConfigError(
            "`distributed` finds the processes by itself; leave out `coordinator`, `processes` and `process`"
        )
    count = (processes is None) + (process is None) + (coordinator is None)
    if together and count not in (0, 3):
        raise ConfigError("`coordinator` HOST:PORT, `processes` N and `process` I go together")
    if (processes is None) != (process is None) or (coordinator is not None and processes is None):
        raise ConfigError("`processes` and `process` (and `coordinator`, where it is needed) go together")
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ConfigError(f"`process` is {process}; with `processes` {processes} it goes from 0 to {processes - 1}")


def join(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    distributed: bool,
    *,
    together: bool,
    patience_seconds: int | None = None,
) -> Share:
    """Connect to the other processes, if there are any. Call this before any other function of JAX.

    Args:
      coordinator: As in `check_processes`.
      processes: As in `check_processes`.
      process: As in `check_processes`.
      distributed: As in `check_processes`.
      together: As in `check_processes`.
      patience_seconds: Time that a finished process waits for the others; None uses JAX's default.

    Returns:
      The share of this process.

    Raises:
      ConfigError: If the processes cannot connect, or as in `check_processes`.
    """
    check_processes(coordinator, processes, process, distributed, together=together)
    if not (distributed or coordinator):
        check_devices()
        return Share(process or 0, processes or 1)
    patience: dict[str, Any] = {} if patience_seconds is None else {"shutdown_timeout_seconds": patience_seconds}
    try:
        jax.distributed.initialize(coordinator, processes, process, **patience)
    except (ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"the processes cannot connect: {lines[0]}") from None
    check_devices()
    return Share(jax.process_index(), jax.process_count())


def check_devices() -> None:
    """Check that JAX finds the devices that the environment asks for.

    Raises:
      ConfigError: If it does not.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # a plugin that is not installed fails an assertion
        asked = os.environ.get("JAX_PLATFORMS")
        if asked:
            raise ConfigError(
                f"JAX finds no device for JAX_PLATFORMS={asked}; leave it out, or set it to cpu"
            ) from None
        raise ConfigError(f"JAX finds no device: {first_line(error)}; JAX_PLATFORMS=cpu needs none") from None


def agree(steps: int, stop: bool) -> tuple[int, bool]:
    """Return the first process's number of steps, and whether any process was told to stop.

    All processes must call this function.
    """
    if jax.process_count() == 1:
        return steps, stop
    said = np.asarray(multihost_utils.process_allgather(np.array([steps, stop], np.int32)))
    return int(said[0, 0]), bool(said[:, 1].any())


def broadcast(value: float) -> float:
    """Return the first process's value in every process. All processes must call this function."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float32(value)))
