"""What tests share: files like those of others, peers, report pages, tiny trained runs."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
# Compiling takes far longer than running here. Without optimisation, and with the older emitters, it takes a third; in
# one piece a sixth less, where two workers keep all cores busy.
QUICK_COMPILER = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)


def xla_flags(devices: int) -> str:
    """XLA_FLAGS for this many devices on CPU, after what is set already: XLA takes the last of several."""
    return f"{QUICK_COMPILER} {os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Folder of this session that all its workers share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
