"""Two tables of scores: two models on the same samples, and two sets of samples by one model."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp, spearmanr

from score.compare import main, rank_correlation


def write(name: str, values: Sequence[float], ids: Sequence[object] | None = None, **summary: str) -> None:
    rows = zip(range(len(values)) if ids is None else ids, values, strict=True)
    text = "".join(f"{ident},{'' if np.isnan(value) else value}\n" for ident, value in rows)
    Path(f"{name}.csv").write_text(f"id,score\n{text}")
    if summary:
        Path(f"{name}.json").write_text(json.dumps(summary))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_two_models_on_the_same_samples(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are matched by their ids, in any order; those without a score in both are left out."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(60)
    y = x + 0.3 * rng.standard_normal(60)
    x[7], y[7] = 10, -10
    x[3] = np.nan
    order = rng.permutation(60)
    names = np.array([f"p{i}" for i in range(60)])
    write("a", x.tolist(), names.tolist())
    write("b", [*y[order], 5.0], [*names[order], "only here"])
    assert main(["a.csv", "b.csv", "--top", "3"]) == 0
    printed = capsys.readouterr().out
    assert "59 samples of 60 in a.csv and 61 in b.csv" in printed
    known = np.delete([x, y], 3, axis=1)
    found = re.search(r"Spearman of score: (\S+) \(95 % interval (\S+) to (\S+)\)", printed)
    assert found
    assert [float(n) for n in found.groups()] == pytest.approx(
        rank_correlation(np.delete(x, 3), np.delete(y, 3)), abs=1e-4
    )
    assert float(found[1]) == pytest.approx(spearmanr(*known).statistic, abs=1e-4)
    listed = re.findall(r"p\d+\b", printed)
    assert (len(listed), listed[0]) == (3, "p7")


def test_tables_that_agree_have_no_rows_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).standard_normal(20)
    write("a", x.tolist())
    write("b", (3 * x).tolist())
    swapped = x.copy()
    swapped[[4, 11]] = x[[11, 4]]
    write("c", swapped.tolist())
    for other, says in (("a", "all 20 samples have the same score in both"), ("b", "are ranked the same in both")):
        assert main(["a.csv", f"{other}.csv"]) == 0
        printed = capsys.readouterr().out
        assert says in printed
        assert "most differently" not in printed
    assert main(["a.csv", "c.csv"]) == 0
    listed = capsys.readouterr().out.split("most differently")[1]
    assert sum(line.count("│") > 0 and line.split("│")[1].strip().isdigit() for line in listed.splitlines()) == 2


def test_the_interval_covers() -> None:
    """Of a normal pair with correlation r, whose rank correlation is 6 / pi asin(r / 2), 95 % of the time."""
    rng = np.random.default_rng(0)
    r = 0.6
    truth = 6 / np.pi * np.arcsin(r / 2)
    inside = 0
    for _ in range(400):
        x, noise = rng.standard_normal((2, 60))
        _, low, high = rank_correlation(x, r * x + np.sqrt(1 - r**2) * noise)
        inside += low < truth < high
    assert 0.92 <= inside / 400 <= 0.975
    assert np.isnan(rank_correlation(np.ones(20), np.arange(20.0))).all()


def test_two_sets_of_samples(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(200), rng.standard_normal(150) - 1
    write("a", x.tolist(), model="m", data="old")
    write("b", y.tolist(), model="m", data="new")
    assert main(["a.csv", "b.csv", "--sets"]) == 0
    printed = capsys.readouterr().out
    assert "note:" not in printed
    test = ks_2samp(x, y)
    assert f"distance {test.statistic:.4f}, p = {test.pvalue:.3g}" in printed
    assert f"AUROC: {(x[:, None] > y[None]).mean():.4f}" in printed
    write("b", rng.standard_normal(150).tolist(), model="other", data="new")
    assert main(["a.csv", "b.csv", "--sets"]) == 0
    printed = capsys.readouterr().out
    found = re.search(r"p = (\S+)", printed)
    assert found
    assert float(found[1]) > 0.01
    assert "note: the models are m and other, whose scores have no common scale" in printed


def test_row_numbers_of_other_data_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write(name, np.arange(20.0).tolist(), model="m", data=f"{name}.npy")
    assert main(["a.csv", "b.csv"]) == 0
    assert "row numbers" in capsys.readouterr().out


def test_wrong_input_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = np.arange(20.0).tolist()
    write("a", numbers)
    write("b", numbers, [f"x{i}" for i in range(20)])
    write("twice", numbers, [0, *range(19)])
    write("few", numbers[:5])
    write("empty", [np.nan] * 20)
    Path("other.csv").write_text("a,b\n1,2\n")
    for args, says in {
        ("a.csv", "b.csv"): "a.csv and b.csv have no id in common; --sets compares two sets of samples",
        ("a.csv", "twice.csv"): "twice.csv has the id '0' twice",
        ("a.csv", "few.csv"): "have 5 ids in common, of which 5 have a score in both; a rank correlation needs 10",
        ("a.csv", "empty.csv", "--sets"): "empty.csv: 0 rows have a score",
        ("a.csv", "other.csv"): "other.csv is not a table of scores: it has no column id",
        ("a.csv", "a.csv", "--by", "log_density"): "a.csv has no column log_density; known: id, score",
        ("a.csv",): "missing",
        ("a.csv", "b.csv", "--top", "-1"): "--top is -1",
    }.items():
        assert main(list(args)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert says in error
