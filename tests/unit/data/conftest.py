from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., str]:
    """Saves arrays, and says where."""

    def save(**arrays: Any) -> str:
        path = tmp_path / "rows.npz"
        np.savez(path, **arrays)
        return str(path)

    return save
