"""Curation from the first call to the last: the columns, the files beside them, and what is chosen by them."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jepa_jax.config import MLP, Data, Objective
from jepa_jax.data.arrays import read_digits
from jepa_jax.evaluate import auroc
from score import __main__ as program
from score import shards
from tests.helpers.pictures import planted_folder
from tests.helpers.reports import Parsed
from tests.helpers.runs import SMALL
from tests.helpers.tables import read
from train.loop import train

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
COUNT = 500


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """Digits, of which ten have a wrong label, and after which copies of eight come; and the rows of both."""
    digits, rng = read_digits(), np.random.default_rng(0)
    assert digits.label is not None
    x, label = np.asarray(digits.x)[:COUNT], digits.label[:COUNT].copy()
    wrong, copied = rng.choice(COUNT, 10, replace=False), rng.choice(COUNT, 8, replace=False)
    label[wrong] = (label[wrong] + rng.integers(1, 10, len(wrong))) % 10
    path = tmp_path_factory.mktemp("planted") / "digits.npz"
    np.savez(path, x=np.concatenate([x, x[copied]]), label=np.concatenate([label, label[copied]]))
    return path, wrong, copied


def test_planted_digits_are_found(runs: Any, planted: Any, tmp_path: Path, capsys) -> None:
    data, wrong, copied = planted
    out, z = tmp_path / "s.csv", tmp_path / "z.npz"
    args = [str(runs / "digits"), "--data", str(data), "--out", str(out)]
    assert program.main([*args, "--curate", "--embeddings", str(z)]) == 0
    rows = read(out)
    assert [(r["id"], r["duplicate_of"]) for r in rows if r["duplicate_of"]] == [
        (str(COUNT + i), str(original)) for i, original in enumerate(copied)
    ]
    doubt = np.array([float(r["label_disagreement"]) for r in rows])
    assert (doubt[wrong] > 0.5).all()
    assert auroc(doubt[wrong], np.delete(doubt, wrong)) > 0.85
    by_class = {label: [r for r in rows if r["label"] == label] for label in "0123456789"}
    for members in by_class.values():
        in_order = sorted(members, key=lambda r: float(r["score"]))
        assert float(in_order[0]["class_percentile"]) == 0
        found = [float(r["class_percentile"]) for r in in_order]
        assert found == sorted(found)
        assert found[-1] >= 100 - 100 * 3 / len(members)  # copies share theirs
    summary = json.loads(out.with_suffix(".json").read_text())["curation"]
    assert (summary["duplicates"], summary["doubtful_labels"]) == (8, (doubt > 0.5).sum())
    assert f"{summary['doubtful_labels']} samples have another label" in capsys.readouterr().out
    with np.load(z) as kept:
        embeddings, ids = kept["embeddings"], kept["id"]
    assert (embeddings.shape, embeddings.dtype, ids.tolist()) == ((len(rows), 8), np.float32, list(range(len(rows))))
    np.testing.assert_allclose(embeddings[COUNT:], embeddings[copied], atol=1e-6)


@pytest.mark.slow
def test_planted_pictures_are_on_the_first_screen_of_their_galleries(tmp_path: Path) -> None:
    """By an encoder that was trained on the same pictures: of few steps, but what is blank is odd to no other."""
    photos, page = tmp_path / "my photos", tmp_path / "reports" / "r.html"
    planted = planted_folder(photos)
    config = dataclasses.replace(SMALL, steps=150, data=Data(str(photos), batch_size=64, size=8))
    config = dataclasses.replace(config, encoder=MLP(widths=(64,), dim=16), objective=Objective())
    train(config, tmp_path / "run", Console(file=io.StringIO()))
    args = [str(tmp_path / "run"), "--data", str(photos), "--out", str(tmp_path / "s.csv"), "--report", str(page)]
    assert program.main([*args, "--curate"]) == 0
    found = Parsed(page.read_text(encoding="utf-8"))
    ids = found.column("id")
    assert len(ids) == 303
    for name, wanted in planted.items():
        assert wanted in [ids[row] for row in found.galleries[name]][:12], name
    of = dict(zip(ids, found.column("duplicate_of"), strict=True))
    assert of[planted["copies"]] == "sky/017.png"
    links = {unquote(a["href"]) for tag, a in found.elements if tag == "a" and a["href"]}
    assert f"../my photos/{planted['odd']}" in links
    assert all((page.parent / link).is_file() for link in links)


def test_every_form_of_a_table_has_the_same_rows(runs: Any, tmp_path: Path, monkeypatch, capsys) -> None:
    """A table in another format or with the columns for curation has a name of its own, and nothing is scored again."""
    model = str(runs / "vectors")
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).uniform(size=(30, 5)).astype(np.float32)
    np.savez("x.npz", x=x, label=np.array([*"abc"] * 10))
    Path("copy").symlink_to(model)  # the run is shared by tests
    common = [model, "--data", "x.npz", "--out"]
    assert program.main([*common, "t.csv"]) == 0
    before = Path("t.csv").read_bytes()
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: pytest.fail("a row was scored again"))
    assert program.main([*common, "t.parquet"]) == 0
    assert "replaces" not in capsys.readouterr().err
    assert program.main([*common, "t-curated.csv", "--curate"]) == 0
    assert Path("t.csv").read_bytes() == before
    rows, table = read(Path("t.csv")), pq.read_table("t.parquet")
    assert table.column_names == list(rows[0])
    for name in ("score", "percentile"):
        np.testing.assert_allclose(table[name].to_numpy(), [float(row[name]) for row in rows], rtol=1e-6)
    assert table["id"].to_pylist() == [int(row["id"]) for row in rows]
    assert table["label"].to_pylist() == [row["label"] for row in rows]
    assert {"class_percentile", "duplicate_of", "label_disagreement"} <= read(Path("t-curated.csv"))[0].keys()


def test_what_is_missing_is_null_in_parquet(runs: Any, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(9, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "s.parquet"
    args = [str(runs / "free"), "--data", "mixture_2d", "--limit", "9", "--curate", "--out", str(out)]
    assert program.main(args) == 0
    table = pq.read_table(out)
    assert table["log_density"].null_count == 9  # p(z) is unknown
    assert (table["duplicate_of"].null_count, str(table["duplicate_of"].type)) == (9, "int64")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "s.txt"], "--out is s.txt; it must end in .csv or .parquet"),
        (["--out", "s.csv", "--format", "parquet"], "--out is s.csv; it must end in .parquet"),
        (["--embeddings", "e.npy"], "--embeddings is e.npy; it must end in .npz"),
    ],
)
def test_wrong_names_are_refused(options: list[str], says: str, capsys) -> None:
    assert program.main(["model", "--data", "moons", *options]) == 2
    assert says in capsys.readouterr().err
