"""How much fits at once: bytes that a function keeps alive, and bytes that a device has."""

import os
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# The share of memory that one batch's Jacobians and what is made of them may take. On CPU a batch much larger than
# the caches is slower, not faster; elsewhere the more the better.
BATCH_BYTES = {"cpu": 256 * 2**20}
# What the activations of one chunk of products may take: near the last cache's size on CPU.
CHUNK_BYTES = {"cpu": 64 * 2**20}
LEAST_BYTES = 256 * 2**20
ASSUMED_BYTES = 8 * 2**30  # of a device that does not tell
SHARE = 8  # of a device's memory, one part in this many, where the tables above name no figure


def budget(table: dict[str, int], platform: str) -> int:
    """Bytes for one purpose on a device of this platform, `cpu`, `gpu` or `tpu`."""
    if platform in table:
        return table[platform]
    return max(LEAST_BYTES, (available(platform) or ASSUMED_BYTES) // SHARE)


def available(platform: str) -> int | None:
    """Bytes that can still be allocated on a device of this platform, or None where the system does not tell.

    Of several devices the first counts. A platform that this process has no device of tells nothing: a program may be
    compiled for a device that is not here.
    """
    if platform == "cpu":
        known = hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names
        return _free_memory() if known else None
    device = next((d for d in jax.local_devices() if d.platform == platform), None)
    stats = None if device is None else device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    return None


def _free_memory() -> int:
    """What Linux says is available, caches included; elsewhere the free pages."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def live_bytes(f: Callable[..., Any], *shapes: Any) -> int:
    """The most bytes that `f` keeps alive beside its constants, if it runs line by line.

    An estimate from above of what the compiler will need, which fuses lines. Constants, such as the weights and what a
    forward pass has left for the backward pass, do not count.

    Args:
      f: a function that can be traced.
      shapes: its arguments, or their `jax.ShapeDtypeStruct`.
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
    """The functions inside an equation: a scan's body, a nested jit."""
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
