"""What tests share: files like those of others, peers, report pages, tiny trained runs."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Folder of this session that all its workers share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
