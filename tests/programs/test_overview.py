"""Several runs side by side: seeds, and what lies in a folder."""

import json
import shutil
from pathlib import Path

import pytest

from jepa_jax.config_json import to_json
from tests.helpers.runs import SMALL, TrainedRuns
from train.__main__ import main


def test_one_run_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Each has the folder and the config of its seed; the table has the median and the range of their numbers."""
    summaries = {0: 0.25, 1: 0.75, 10: 0.5}

    def train(config, out: Path, *_) -> dict:  # a run takes seconds, which the loop over seeds needs not
        out.mkdir(parents=True)
        found = {"step": config.steps, "density/spearman": summaries[config.seed], "verdict": "healthy", "law": None}
        found |= {"health_sentence": "healthy"}
        (out / "summary.json").write_text(json.dumps(found))
        (out / "config.json").write_text(to_json(config))
        return found

    monkeypatch.setattr("train.loop.train", train)
    (tmp_path / "small.json").write_text(to_json(SMALL))
    assert main([str(tmp_path / "small.json"), "--seeds", "0", "1", "10", "--out", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out.splitlines()
    median, spread = (next(line for line in said if name in line) for name in ("median", "range"))
    assert ("0.5" in median, "0.25 to 0.75" in spread, "healthy 3 of 3" in median) == (True, True, True)
    assert json.loads((tmp_path / "runs/seed_10/config.json").read_text())["seed"] == 10
    assert main(["--runs", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["summary"]["density/spearman"] for row in rows] == [0.25, 0.75, 0.5]  # seed_10 after seed_1
    assert [row["config"]["seed"] for row in rows] == [0, 1, 10]


def test_the_runs_of_a_folder(
    runs: TrainedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Without a folder they are those in runs/; one that is not finished is listed as such."""
    shutil.copytree(runs / "normal", tmp_path / "runs/a/one", ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copytree(tmp_path / "runs/a/one", tmp_path / "runs/two", ignore=shutil.ignore_patterns("summary.json"))
    monkeypatch.chdir(tmp_path)
    assert main(["--runs"]) == 0
    said = capsys.readouterr().out
    spearman = json.loads((tmp_path / "runs/a/one/summary.json").read_text())["density/spearman"]
    one, two = (next(line for line in said.splitlines() if name in line) for name in ("runs/a/one", "runs/two"))
    assert f"{spearman:.4g}" in one
    assert "not finished" in two


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--runs", "nowhere"], "nowhere is not a folder"),
        (["--runs", "empty"], "there is no run in empty"),
        (["--runs", "bad"], "config.json is damaged"),
        (["--runs", "empty", "--jsn"], "unknown option --jsn"),
        (["mixture_2d", "--seeds", "1", "1"], "name every seed once"),
        (["mixture_2d", "--seeds"], "names no seed"),
        (["mixture_2d", "--seeds", "1", "--seed", "3"], "leave out --seed"),
    ],
)
def test_what_is_wrong_is_one_line(
    args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad/run").mkdir(parents=True)
    (tmp_path / "bad/run/config.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
