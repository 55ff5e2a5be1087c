"""A table with categories from the first call to the last: trained on, scored, and with what training did not have."""

from pathlib import Path

import numpy as np
import pytest

from score import __main__ as score_program
from train import __main__ as train_program

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


def said(capsys) -> str:
    """Everything that was printed since the last call, in one line."""
    return " ".join(" ".join(capsys.readouterr()).split())


@pytest.mark.slow  # the next test has words instead of numbers
def test_a_category_unseen_in_training_is_named(tmp_path: Path, capsys) -> None:
    draw = np.random.default_rng(5)
    x = np.column_stack([draw.integers(0, 4, 300), draw.standard_normal((300, 3)) * [1, 1e4, 1e-4]])
    np.savez(tmp_path / "t.npz", x=x, categories=np.array([4, 0, 0, 0]))
    other = x[:30].copy()
    other[3, 0], other[7, 0] = 7, 1.5
    np.save(tmp_path / "other.npy", other)
    args = ["table_tjepa", "--data.source", str(tmp_path / "t.npz"), "--steps", "3", "--data.batch-size", "32"]
    quick = ["--monitor.probes", "32", "--monitor.no-figures", "--out", str(tmp_path / "run")]
    assert train_program.main([*args, *quick]) == 0
    assert "triangular" not in said(capsys)  # which takes no categories
    out = tmp_path / "other.csv"
    assert score_program.main([str(tmp_path / "run"), "--data", str(tmp_path / "other.npy"), "--out", str(out)]) == 0
    found = said(capsys)
    assert "2 rows have a category in column 0 that training did not have; it had whole numbers from 0 to 3" in found
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert rows[3][1] == ""


def test_a_column_of_words_keeps_its_codes(tmp_path: Path, capsys) -> None:
    """Columns are found by their names; a word that training did not have gets no score, and the others theirs."""
    draw = np.random.default_rng(5)
    words, size = draw.choice(["ash", "elm", "oak"], 300), draw.standard_normal(300)
    rows = [f"{word},{x},{y},t{i}" for i, (word, x, y) in enumerate(zip(words, size, -(size**2), strict=True))]
    train, other = tmp_path / "t.csv", tmp_path / "other.tsv"
    train.write_text("\n".join(["tree,x,y,id", *rows]))
    mixed = [row.split(",") for row in rows[:20]]
    mixed[4][0] = "yew"
    other.write_text(
        "\n".join("\t".join([y, ident, "note", x, word]) for word, x, y, ident in [("tree", "x", "y", "id"), *mixed])
    )
    args = ["table_tjepa", "--data.source", str(train), "--steps", "3", "--data.batch-size", "32"]
    quick = ["--monitor.probes", "32", "--monitor.no-figures", "--out", str(tmp_path / "run")]
    assert train_program.main([*args, *quick]) == 2
    assert "column 'tree' is no column of numbers (it has" in said(capsys)
    assert train_program.main([*args, *quick, "--data.categorical", "tree"]) == 0
    assert "--data.columns" not in said(capsys)
    tables = {}
    for path in (train, other):
        out = tmp_path / f"{path.stem}_scores.csv"
        assert score_program.main([str(tmp_path / "run"), "--data", str(path), "--out", str(out)]) == 0
        tables[path] = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert "1 rows have a category in column tree that training did not have; it had ash, elm, oak" in said(capsys)
    before, after = tables[train][:20], tables[other]
    assert [row[0] for row in after] == [f"t{i}" for i in range(20)]
    assert after[4][1] == ""
    np.testing.assert_allclose(
        *([float(row[1]) for i, row in enumerate(rows) if i != 4] for rows in (before, after)), atol=1e-4
    )


def test_conditions_that_nothing_reads_are_named(tmp_path: Path, capsys) -> None:
    draw = np.random.default_rng(6)
    arrays = {"x": draw.standard_normal((200, 3)), "pair": draw.standard_normal((200, 3))}
    np.savez(tmp_path / "c.npz", condition=draw.standard_normal((200, 2)), **arrays)
    args = ["arrays_infonce", "--data.source", str(tmp_path / "c.npz"), "--steps", "3", "--data.batch-size", "32"]
    quick = ["--monitor.probes", "32", "--monitor.no-figures", "--out", str(tmp_path / "run")]
    assert train_program.main([*args, *quick]) == 0
    assert "note: the conditions of the data are not used" in said(capsys)
