"""What the benchmarks share: what is written beside the numbers, the clock, the memory, trees of arrays in files.

Nothing here imports jax before it is needed: a PyTorch contestant that reports its memory uses this too.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Device, cores, versions and date."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cores": cores(),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's model, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_results(out: Path, name: str, markdown: str, tree: dict[str, Any]) -> None:
    """Write NAME.json and NAME.md; the markdown gets a line on the environment from tree["about"]."""
    from jepa_jax.files import write_atomically

    about = ", ".join(f"{key} {value}" for key, value in tree["about"].items() if not isinstance(value, tuple | list))
    write_atomically(out / f"{name}.json", lambda path: path.write_text(json.dumps(tree, indent=2) + "\n"))
    write_atomically(out / f"{name}.md", lambda path: path.write_text(f"{markdown}\n\n{about}\n"))


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def repeated(run: Callable[[], Any], repeats: int, until: float) -> list[float]:
    """Seconds of each run: so many of them, or fewer if one more would probably end after `until` (perf_counter)."""
    seconds: list[float] = []
    while len(seconds) < repeats and time.perf_counter() + max(seconds, default=0.0) < until:
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def matmul_rate(multiply: Callable[[], Any], side: int, tries: int = 6) -> float:
    """FLOP/s of a product of two square matrices of this side: the best of several after a warm-up."""
    multiply()
    return 2 * side**3 / min(repeated(multiply, tries, float("inf")))


def process_memory() -> int:
    """The most bytes that this process has had in memory so far."""
    try:
        # Linux hands ru_maxrss down from the process that started this one; VmHWM begins afresh with the program.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def save_tree(path: Path, tree: dict[str, Any]) -> None:
    """Write a nested dict of arrays as .npz, with keys such as `blocks/qkv/kernel`."""
    np.savez(path, allow_pickle=False, **flat(tree))


def load_tree(path: Path) -> dict[str, Any]:
    """The nested dict of arrays that `save_tree` wrote."""
    tree: dict[str, Any] = {}
    with np.load(path) as stored:
        for key in stored.files:
            *parents, name = key.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = stored[key]
    return tree


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """A nested dict of arrays as one dict, with keys such as `blocks/qkv/kernel`."""
    leaves: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        leaves.update(flat(value, f"{key}/") if isinstance(value, dict) else {key: value})
    return leaves
