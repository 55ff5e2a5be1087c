"""Memory budgets: the bytes that a function keeps alive, and the bytes that a device has."""

import os
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Memory for one batch's Jacobians and the arrays computed from them. On CPU a batch much larger than the caches is
# slower, not faster; on other platforms larger batches are faster.
BATCH_BYTES = {"cpu": 256 * 2**20}
# Memory for the activations of one chunk of products: near the size of the last-level cache on CPU.
CHUNK_BYTES = {"cpu": 64 * 2**20}
MIN_BUDGET_BYTES = 256 * 2**20
ASSUMED_DEVICE_BYTES = 8 * 2**30  # memory of a device that does not report it
BUDGET_DIVISOR = 8  # the budget is the memory divided by this, for platforms that are not in the tables above


def budget(table: dict[str, int], platform: str, memory: int | None = None) -> int:
    """Return the bytes for one purpose on a device.

    Args:
      table: Bytes by platform, for those where they do not depend on the device's memory.
      platform: Platform of the device: `cpu`, `gpu` or `tpu`.
      memory: As in `available`.
    """
    if platform in table:
        return table[platform]
    return max(MIN_BUDGET_BYTES, (available(platform, memory) or ASSUMED_DEVICE_BYTES) // BUDGET_DIVISOR)


def available(platform: str, memory: int | None = None) -> int | None:
    """Return the bytes that can still be allocated on a device of this platform, or None if unknown.

    The result is None where the system does not report the bytes. The first of several devices counts.

    Args:
      platform: Platform of the device: `cpu`, `gpu` or `tpu`.
      memory: Bytes of the device that a program is compiled for, if this machine does not have it; they are the result.
        None asks the devices of this process.
    """
    if memory is not None:
        return memory
    if platform == "cpu":
        known = hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names
        return _free_memory() if known else None
    device = next((d for d in jax.local_devices() if d.platform == platform), None)
    stats = None if device is None else device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    return None


def _free_memory() -> int:
    """Return the memory that Linux reports as available, including caches; elsewhere the free pages."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def live_bytes(f: Callable[..., Any], *shapes: Any) -> int:
    """Return the most bytes that `f` keeps alive, besides its constants, if it runs one operation at a time.

    This is an upper estimate of the memory that the compiler, which fuses operations, will need. Constants, such as the
    weights and the residuals of a forward pass for the backward pass, do not count.

    Args:
      f: A function that can be traced.
      *shapes: Its arguments, or their `jax.ShapeDtypeStruct`.
    """
    return _peak(jax.make_jaxpr(f)(*shapes).jaxpr)


def _peak(jaxpr: Jaxpr) -> int:
    last: dict[Any, int] = {}
    for i, eqn in enumerate(jaxpr.eqns):
        last.update({v: i for v in eqn.invars if not isinstance(v, Literal)})
    ends = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    alive = {v: _size(v) for v in jaxpr.invars}
    most = sum(alive.values())
    for i, eqn in enumerate(jaxpr.eqns):
        inner = max((_peak(j) for j in inner_jaxprs(eqn.params)), default=0)
        alive.update({v: _size(v) for v in eqn.outvars})
        most = max(most, sum(alive.values()) + inner)
        for v in [v for v in alive if last.get(v, -1) <= i and v not in ends]:
            del alive[v]
    return most


def inner_jaxprs(params: dict[str, Any]) -> list[Jaxpr]:
    """Return the functions inside an equation, such as the body of a scan or a nested jit."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, Jaxpr):
                found.append(item)
    return found


def _size(variable: Any) -> int:
    aval = variable.aval
    return int(aval.size) * aval.dtype.itemsize if hasattr(aval, "dtype") and hasattr(aval, "size") else 0
