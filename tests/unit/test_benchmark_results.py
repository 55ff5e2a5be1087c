"""Results of benchmarks that are continued name every environment in which a cell was measured."""

import json
from pathlib import Path

import pytest

from benchmarks import report


def test_cells_of_two_commits_name_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    for commit, cells in (("aaa", {"1": 1.0}), ("bbb", {"1": 1.0}), ("bbb", {"1": 1.0, "2": 2.0}), ("ccc", {})):
        monkeypatch.setattr(report, "commit", lambda commit=commit: commit)
        about, found = report.continued(file, {"steps": 3})
        report.write_results(tmp_path, "x", "table", {"about": about, "cells": found | cells})
    # The second and the last call measured nothing.
    assert json.loads(file.read_text())["about"]["commit"] == "aaa; bbb"
    assert "commit aaa; bbb, " in (tmp_path / "x.md").read_text()
    assert json.loads(file.read_text())["about"]["steps"] == 3
