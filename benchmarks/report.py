"""What every benchmark writes beside its numbers."""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax

from jepa_jax.files import write_atomically

PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-learn")


def environment() -> dict[str, Any]:
    """Device, cores, versions and date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "cores": cores,
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's model, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_results(out: Path, name: str, markdown: str, tree: dict[str, Any]) -> None:
    """Write NAME.json and NAME.md; the markdown gets a line on the environment from tree["about"]."""
    about = ", ".join(f"{key} {value}" for key, value in tree["about"].items() if not isinstance(value, tuple | list))
    write_atomically(out / f"{name}.json", lambda path: path.write_text(json.dumps(tree, indent=2) + "\n"))
    write_atomically(out / f"{name}.md", lambda path: path.write_text(f"{markdown}\n\n{about}\n"))


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))
