"""Helpers that the benchmarks share: environment, result files, timing, peak memory, errors, and arrays in files.

jax is imported inside the functions that need it, so that PyTorch contestants can use this module without loading jax.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError

PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Return the device kind, processor, number of cores, date, commit and package versions."""
    import jax

    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cores": cores(),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the short hash of the checkout's commit, with `-dirty` after changes; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def exit_status(measure: Callable[[], Path]) -> int:
    """Run a benchmark that writes a table after every cell, print the table, and return the exit status.

    Args:
      measure: Function that runs the benchmark and returns the path of the table.

    Returns:
      0; 1 if interrupted; 2 if the arguments are wrong.
    """
    try:
        table = measure()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 1
    print(table.read_text())
    return 0


def continued(file: Path, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the environment and the cells that an earlier call stored, or a new environment and no cells.

    Args:
      file: JSON of the results.
      options: Arguments on which all cells depend, which are kept with the environment.

    Raises:
      ConfigError: If the file holds results of other arguments.
    """
    if not file.exists():
        return environment() | options, {}
    stored = json.loads(file.read_text())
    if any(stored["about"].get(name) != value for name, value in options.items()):
        raise ConfigError(f"{file} holds the results of other arguments; move it, or name another folder with --out")
    return stored["about"], stored["cells"]


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's model name, or its architecture where the system does not tell the model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def results_folder(out: str) -> Path:
    """Create and return OUT/DEVICE, the folder for results that were measured on the default device.

    Raises:
      ConfigError: The folder cannot be created or written.
    """
    import jax

    from jepa_jax.files import make_directory

    folder = Path(out) / device_slug(jax.devices()[0].device_kind)
    make_directory(folder)
    return folder


def device_slug(kind: str) -> str:
    """Return a device kind as the name of a folder, for example `nvidia-h100-80gb-hbm3`."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def write_results(folder: Path, name: str, markdown: str, tree: dict[str, Any]) -> None:
    """Write NAME.json and NAME.md; a line on the environment from tree["about"] is appended to the markdown.

    Where cells that earlier calls stored were measured in another environment, both are named.
    """
    from jepa_jax.files import write_atomically

    tree = tree | {"about": _measured_in(folder / f"{name}.json", tree)}
    about = ", ".join(f"{key} {value}" for key, value in tree["about"].items() if not isinstance(value, tuple | list))
    write_atomically(folder / f"{name}.json", lambda path: path.write_text(json.dumps(tree, indent=2) + "\n"))
    write_atomically(folder / f"{name}.md", lambda path: path.write_text(f"{markdown}\n\n{about}\n"))


def _measured_in(file: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """Return tree["about"] with the present environment, if the tree has cells that the file does not have."""
    about = tree["about"]
    if not file.exists():
        return about
    stored = json.loads(file.read_text())
    if stored | {"about": None} == json.loads(json.dumps(tree)) | {"about": None}:
        return stored["about"]
    now = environment()
    return about | {
        key: f"{about[key]}; {now[key]}"
        for key in about.keys() & now.keys()
        if str(now[key]) not in str(about[key]).split("; ")
    }


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def repeated(run: Callable[[], Any], repeats: int, until: float) -> list[float]:
    """Run a function repeatedly and return the seconds of each run.

    Args:
      run: Function to time.
      repeats: Largest number of runs.
      until: Time (perf_counter) after which no run should end: a run that would probably end later is not started.
    """
    seconds: list[float] = []
    while len(seconds) < repeats and time.perf_counter() + max(seconds, default=0.0) < until:
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def matmul_rate(multiply: Callable[[], Any], side: int, tries: int = 6) -> float:
    """Return the FLOP/s of a product of two square matrices: the best of several tries after a warm-up.

    Args:
      multiply: Function that multiplies the matrices and waits for the result.
      side: Rows and columns of each matrix.
      tries: Number of timed runs.
    """
    multiply()
    return 2 * side**3 / min(repeated(multiply, tries, float("inf")))


def process_memory() -> int:
    """Return the peak memory of this process so far, in bytes."""
    try:
        # On Linux a process inherits ru_maxrss from the process that started it; VmHWM starts afresh with the program.
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write_result(folder: Path, measure: Callable[[], dict[str, Any]]) -> int:
    """Write FOLDER/result.json with a measurement, in a process of its own.

    Returns:
      0; 1 if the measurement failed, in which case the file gives the reason in one line.
    """
    try:
        result = measure()
    except Exception as error:  # whatever the error is, the other contestants run
        result = {"failed": one_line(error)}
    (folder / "result.json").write_text(json.dumps(result))
    return 1 if "failed" in result else 0


def one_line(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:160]


def save_tree(path: Path, tree: dict[str, Any]) -> None:
    """Write a nested dict of arrays as .npz, with keys such as `blocks/qkv/kernel`."""
    np.savez(path, allow_pickle=False, **flat(tree))


def load_tree(path: Path) -> dict[str, Any]:
    """Return the nested dict of arrays that `save_tree` wrote."""
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
    """Return the leaves of a nested dict in one dict, with keys such as `blocks/qkv/kernel`."""
    leaves: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        leaves.update(flat(value, f"{key}/") if isinstance(value, dict) else {key: value})
    return leaves
