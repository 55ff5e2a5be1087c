"""Rows that are chosen from a table of scores: which, in what order, and the lists and links of them."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import jepa_jax
from jepa_jax.data import open_dataset
from score.select import main

IDS = ["cat/a.png", "cat/b.png", "cat/c.png", "dog/a.png", "dog/b.png", "dog/d.png", "e.png"]
SCORES = ["3", "1", "2", "10", "-1", "", "4"]
LABELS = ["cat", "cat", "cat", "dog", "dog", "dog", ""]
DOUBT = ["0.5", "", "0", "1", "0.25", "0.75", ""]
TWINS = ["", "cat/a.png", "", "", "", "", "dog/a.png"]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of a folder of images, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in IDS:
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), IDS.index(name)).save(path)
    with open("s.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "score", "label", "label_disagreement", "duplicate_of"])
        writer.writerows(zip(IDS, SCORES, LABELS, DOUBT, TWINS, strict=True))
    Path("s.json").write_text(json.dumps({"model": "m", "data": "photos"}))
    return Path("s.csv")


def chosen(table: Path, *options: str) -> list[str]:
    assert main([str(table), *options, "--list", "list.txt"]) == 0
    return Path("list.txt").read_text().splitlines()


CHOICES = {
    ("--lowest", "3"): ["dog/b.png", "cat/b.png", "cat/c.png"],
    ("--highest", "2"): ["dog/a.png", "e.png"],
    ("--highest", "99"): ["dog/a.png", "e.png", "cat/a.png", "cat/c.png", "cat/b.png", "dog/b.png"],  # that have one
    ("--below", "100"): ["dog/b.png", "cat/b.png", "cat/c.png", "cat/a.png", "e.png", "dog/a.png"],
    ("--below", "34"): ["dog/b.png", "cat/b.png", "cat/c.png"],  # percentiles 0, 16.7 and 33.3
    ("--below", "33"): ["dog/b.png", "cat/b.png"],
    ("--lowest", "1", "--per-class"): ["cat/b.png", "dog/b.png"],
    ("--highest", "1", "--per-class"): ["cat/a.png", "dog/a.png"],
    ("--below", "50", "--per-class"): ["cat/b.png", "cat/c.png", "dog/b.png"],
    ("--highest", "2", "--by", "label_disagreement"): ["dog/a.png", "dog/d.png"],
    ("--lowest", "9", "--by", "duplicate_of"): ["cat/b.png", "e.png"],
    ("--highest", "1", "--by", "id"): ["e.png"],
}


@pytest.mark.parametrize("options", CHOICES, ids=" ".join)
def test_the_chosen_rows(options: Sequence[str], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(table, *options) == CHOICES[tuple(options)]
    printed = capsys.readouterr().out
    assert all(name in printed for name in CHOICES[tuple(options)])


def test_parquet_is_read_the_same(table: Path) -> None:
    pq.write_table(pyarrow.csv.read_csv(table), "s.parquet")
    for options, rows in CHOICES.items():
        assert chosen(Path("s.parquet"), *options) == rows


def test_a_wide_table_is_not_cut_in_a_pipe(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "long " * 60
    table.write_text(f"id,score\n{name},1\n")
    assert main([str(table), "--lowest", "1"]) == 0
    assert name in capsys.readouterr().out


def test_nothing_to_choose_is_no_error(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text("id,score,duplicate_of\n0,1,\n1,2,\n")
    assert chosen(table, "--lowest", "5", "--by", "duplicate_of") == []
    assert "0 of 2 rows of s.csv: none has a value in the column duplicate_of" in capsys.readouterr().out


def test_images_are_linked_in_their_folders(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd/cat").mkdir(parents=True)
    Path("odd/cat/b.png").write_text("mine")
    assert main([str(table), "--lowest", "3", "--link", "odd"]) == 0
    assert "2 files; 1 were there already" in capsys.readouterr().out
    assert Path("odd/cat/b.png").read_text() == "mine"
    assert Path("odd/dog/b.png").is_symlink()
    assert Path("odd/dog/b.png").read_bytes() == Path("photos/dog/b.png").read_bytes()
    Path("odd").rename("elsewhere")
    assert Path("elsewhere/cat/c.png").exists()


def test_where_links_are_not_possible_files_are_copied(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    shutil.move("photos", "moved")
    assert main([str(table), "--highest", "1", "--link", "odd", "--images", "moved"]) == 0
    copy = Path("odd/dog/a.png")
    assert copy.is_file()
    assert not copy.is_symlink()
    assert copy.read_bytes() == Path("moved/dog/a.png").read_bytes()


def test_links_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of a list may lead out of its folder, or begin at the root."""
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 4)).save(name)
    ids = ["../a.png", str(tmp_path / "b.png")]
    Path("lists/l.txt").write_text("\n".join(ids))
    Path("s.csv").write_text(f"id,score\n{ids[0]},1\n{ids[1]},2\n")
    Path("s.json").write_text('{"model": "m", "data": "lists/l.txt"}')
    assert main(["s.csv", "--lowest", "2", "--link", "odd"]) == 0
    found = [path for path in Path("odd").rglob("*.png")]
    assert sorted(path.resolve() for path in found) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert Path("odd/a.png") in found


def test_a_list_beside_the_images_is_data(table: Path) -> None:
    assert main([str(table), "--lowest", "2", "--list", "photos/odd.txt"]) == 0
    dataset = open_dataset("photos/odd.txt")
    assert [dataset.id(i) for i in range(2)] == ["dog/b.png", "cat/b.png"]
    assert np.asarray(dataset[0]["x"])[0, 0, 0] == IDS.index("dog/b.png")


def test_long_selections_are_cut_on_the_console_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.csv").write_text("id,score\n" + "".join(f"{i},{i}\n" for i in range(300)))
    assert len(chosen(Path("s.csv"), "--below", "50")) == 150
    assert "... and 50 more" in capsys.readouterr().out


WRONG = {
    ("s.csv",): "choose rows with one of --lowest N, --highest N and --below P",
    ("s.csv", "--lowest", "2", "--below", "3"): "choose rows with one of",
    ("s.csv", "--lowest", "0"): "--lowest is 0; it must be positive",
    ("s.csv", "--below", "101"): "--below is 101; it is a percentile",
    ("s.csv", "--lowest", "2", "--by", "scor"): "s.csv has no column scor; did you mean score?",
    ("plain.csv", "--lowest", "2", "--per-class"): "plain.csv has no column label; leave out --per-class",
    ("plain.csv", "--lowest", "2", "--link", "odd"): "plain.csv has no FILE.json beside it",
    ("gone.csv", "--lowest", "2"): "gone.csv does not exist",
    ("s.json", "--lowest", "2"): "s.json is not a table of scores, FILE.csv or FILE.parquet",
    ("other.csv", "--lowest", "2"): "other.csv is not a table of scores: it has no column score",
    ("s.csv", "--lowest", "2", "--link", "photos/odd"): "--link photos/odd is within photos",
    ("s.csv", "--lowest", "2", "--link", "odd", "--images", "."): "2 of 2 files are missing, the first is dog/b.png",
    ("s.csv", "--lowest", "2", "--link", "plain.csv"): "plain.csv",
    ("s.csv", "--lowst", "2"): "unknown option --lowst; did you mean --lowest",
    (): "missing the first argument",
}


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_wrong_input_gets_one_line(args: Sequence[str], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plain.csv").write_text("id,score,empty\n0,1,\n1,2,\n")
    Path("other.csv").write_text("id,a\n0,1\n")
    assert main(list(args)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert WRONG[tuple(args)] in error
    assert not Path("odd").exists()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == jepa_jax.__version__
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for words in ("--per-class", "select scores.csv --lowest 20"):
        assert words in text
