"""Predicted scores: `python -m score --pilot`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from score import __main__ as program
from score import compare, select, shards
from tests.helpers.scores import unfinished
from tests.helpers.tables import read, table

COUNT, EXACT = 200, 60
PREDICTED = ["exact", "predicted_score", "predicted_low", "predicted_high"]


@pytest.fixture(scope="module")
def calls(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all.csv, where every score is exact, and pilot.csv, where one in four is."""
    folder = tmp_path_factory.mktemp("pilot")
    common = [runs / "digits", "--data", "digits", "--limit", COUNT]
    table(folder / "all.csv", *common)
    table(folder / "pilot.csv", *common, *pilot(), "--embeddings", folder / "z.npz", "--report", folder / "r.html")
    return folder


def pilot(*more: Any) -> list[Any]:
    return ["--pilot", EXACT, "--sketch", 3, "--batch-size", 16, *more]


def test_the_rest_is_predicted(calls: Path) -> None:
    exact, rows = read(calls / "all.csv"), read(calls / "pilot.csv")
    assert list(rows[0]) == ["id", "score", "log_density", "clipped", "percentile", "label", *PREDICTED]
    known = np.array([row["exact"] == "1" for row in rows])
    assert (known.sum(), len(rows)) == (EXACT, COUNT)
    for row, full in zip(rows, exact, strict=True):
        assert (row["id"], row["label"]) == (full["id"], full["label"])
        if row["exact"] == "1":
            assert float(row["score"]) == pytest.approx(float(full["score"]), abs=1e-4)
            assert row["clipped"] == full["clipped"]
            assert row["predicted_low"] == row["predicted_high"] == ""
        else:
            assert row["score"] == row["log_density"] == row["clipped"] == row["percentile"] == ""
            assert float(row["predicted_low"]) < float(row["predicted_score"]) < float(row["predicted_high"])
    score, found, low, high = (
        np.array([float(row[name] or "nan") for row in source])
        for source, name in ((exact, "score"), *((rows, name) for name in PREDICTED[1:]))
    )
    summary = json.loads((calls / "pilot.json").read_text())
    assert (summary["count"], summary["without_score_count"]) == (COUNT, 0)
    about = summary["pilot"]
    assert (about["exact"], about["predicted"], about["directions"]) == (EXACT, COUNT - EXACT, 3)
    assert about["products_saved"] == pytest.approx(COUNT * 8 / (EXACT * 8 + COUNT * 3))
    off = (found - score)[~known]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(about["error"], rel=0.4)
    assert np.sqrt(np.mean(off**2)) < 0.8 * score.std()
    assert ((low <= score) & (score <= high))[~known].mean() > 0.75
    assert np.load(calls / "z.npz")["embeddings"].shape == (COUNT, 8)


def test_the_same_call_scores_nothing_again(
    calls: Path, runs: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: pytest.fail("a row was scored again"))
    args = [str(runs / "digits"), "--data", "digits", "--limit", str(COUNT), *map(str, pilot("--format", "parquet"))]
    for file in calls.glob(".pilot.*"):
        assert not file.name.endswith(".shard")
    assert program.main([*args, "--out", str(calls / "pilot.parquet")]) == 0
    said = capsys.readouterr()
    assert "already scored; 0 new" in said.err
    assert "60 of 200 scores are exact and the others predicted, with 1.48 times fewer products" in said.out
    columns = pq.read_table(calls / "pilot.parquet").to_pydict()
    assert columns["score"].count(None) == COUNT - EXACT
    assert columns["predicted_high"].count(None) == EXACT
    rows = read(calls / "pilot.csv")
    np.testing.assert_allclose(columns["predicted_score"], [float(row["predicted_score"]) for row in rows], rtol=1e-6)


def test_it_goes_on_where_it_stopped(calls: Path, runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls_made = shards.Shard.append, []

    def dies_among_the_sketches(self: Any, rows: np.ndarray) -> None:
        calls_made.append(len(rows))
        if sum(calls_made) > EXACT + 50:
            raise KeyboardInterrupt
        append(self, rows)

    args = [str(runs / "digits"), "--data", "digits", "--limit", str(COUNT), *map(str, pilot())]
    args += ["--out", str(tmp_path / "pilot.csv")]
    monkeypatch.setattr(shards.Shard, "append", dies_among_the_sketches)
    assert program.main(args) == 1
    assert not (tmp_path / "pilot.csv").exists()
    calls_made.clear()
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: (calls_made.append(len(rows)), append(self, rows)))
    assert program.main(args) == 0
    assert sum(calls_made) == COUNT - 48  # no exact score, and the sketches of three batches are there
    assert (tmp_path / "pilot.csv").read_text() == (calls / "pilot.csv").read_text()
    assert not unfinished(tmp_path)


def test_other_programs_read_the_table(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(calls / "pilot.csv")
    assert select.main([file, "--lowest", "3", "--by", "predicted_score", "--list", str(calls / "low.txt")]) == 0
    lowest = sorted(read(calls / "pilot.csv"), key=lambda row: float(row["predicted_score"]))[:3]
    assert (calls / "low.txt").read_text().split() == [row["id"] for row in lowest]
    assert select.main([file, "--lowest", str(COUNT), "--list", str(calls / "exact.txt")]) == 0
    assert len((calls / "exact.txt").read_text().split()) == EXACT
    capsys.readouterr()
    assert compare.main([file, str(calls / "all.csv")]) == 0
    assert "Spearman of score: 1.0000" in capsys.readouterr().out
    assert "60" in (calls / "r.html").read_text()


def test_images_that_cannot_be_read(runs: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(60):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02}.png")
    for i in range(20):
        (tmp_path / "photos" / f"x{i:02}.png").write_bytes(b"no picture")
    found = table(tmp_path / "s.csv", runs / "images", "--data", tmp_path / "photos", "--pilot", 45)
    broken = np.char.startswith(found["id"], "x")
    assert (found["predicted_score"][broken] == "").all()
    assert (found["reason"][broken] != "").all()
    assert (found["predicted_score"][~broken] != "").all()
    assert (found["reason"][~broken] == "").all()
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["without_score_count"] == 20
    assert summary["pilot"]["exact"] == (found["score"] != "").sum() < 45
    assert summary["pilot"]["predicted"] == ((found["score"] == "") & ~broken).sum()


DIGITS = ("--data", "digits", "--limit", "100")
BAD = {
    "all are exact": ([*DIGITS, "--pilot", "100"], "has 100 samples, so that nothing is left to predict"),
    "too few": ([*DIGITS, "--pilot", "10"], "at least 30 exact scores"),
    "none": ([*DIGITS, "--pilot", "0"], "--pilot is 0"),
    "sketch alone": ([*DIGITS, "--sketch", "2"], "--pilot, which is missing"),
    "as dear as the score": ([*DIGITS, "--pilot", "40", "--sketch", "7"], "from 0 to 6"),
    "negative": ([*DIGITS, "--pilot", "40", "--sketch", "-1"], "--sketch is -1"),
    "tangent": ([*DIGITS, "--pilot", "40", "--tangent", "2"], "--tangent"),
    "curate": ([*DIGITS, "--pilot", "40", "--curate"], "--curate needs the score of every sample"),
    "processes": ([*DIGITS, "--pilot", "40", "--processes", "2", "--process", "0"], "one process"),
    "constant": (["--data", "same.npy", "--pilot", "30"], "same but for rounding"),
}


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_get_one_line_and_exit_2(
    runs: Any,
    args: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("same.npy", np.zeros((40, 8, 8, 1), np.float32))
    assert program.main([str(runs / "digits"), *args, "--out", "s.csv"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not (tmp_path / "s.csv").exists()
