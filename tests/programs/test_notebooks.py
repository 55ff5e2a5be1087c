"""The notebooks run from top to bottom, with few steps, and hold no output."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest

from tests.helpers import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = json.loads(path.read_text())
    assert (tree["nbformat"], len({cell["id"] for cell in tree["cells"]})) == (4, len(tree["cells"]))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in tree["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            text = re.sub(r"^STEPS = \d+", "STEPS = 8", "".join(cell["source"]), flags=re.M)
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have them
                exec(compile(text, f"{path.name}, {cell['id']}", "exec"), names)
    if path.stem == "monitor_in_your_loop":  # what the notebook shows in place of a dict
        shown = names["look"]._repr_html_()
        assert "data:image/png;base64,iVBOR" in shown
        assert names["look"].line.split("  ")[-1] in shown
