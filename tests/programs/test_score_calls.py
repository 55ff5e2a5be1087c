"""Calls of the score program: names of their tables, rows that are reused, and what is known of the training."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jepa_jax import Encoder, load
from jepa_jax.config import Config, Data
from jepa_jax.data import read_samples
from score import __main__ as program
from score import inputs, shards
from score import run as story
from score.naming import call_digest, rows_path, table_path
from score.options import Arguments
from score.seen import seen
from tests.helpers import GOLDEN
from tests.helpers.tables import read

QUIET = Console(quiet=True)
WEIGHTS: dict[str, dict[str, Any]] = {  # files without a config, and what they do not say
    "dinov2_pretrain.pth": {"heads": 2},
    "vit-ep300.pth.tar": {"heads": 2},
    "b32_400m.pt": {"heads": 2},
    "open_clip_model.safetensors": {},
}


def finished(table: Path, digest: str) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    table.with_suffix(".json").write_text(json.dumps({"model": "m", "data": "d", "call": digest}))


def test_names_tell_calls_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("train/cats", "test/cats", "a/model", "b/model"):
        Path(folder).mkdir(parents=True)
    for model in "ab":
        Path(model, "model", "model.safetensors").touch()
    calls = [
        Arguments("a/model", "train/cats"),
        Arguments("a/model", "test/cats"),
        Arguments("b/model", "train/cats"),
        Arguments("a/model", "train/cats", eps=1e-3),
        Arguments("a/model", "train/cats", limit=3),
    ]
    tables = []
    for call in calls:
        tables.append(table_path(call, QUIET))
        finished(tables[-1], call_digest(call))
    assert len(set(tables)) == len(calls)
    assert tables[0] == Path("scores/model/cats.csv")
    assert [table_path(call, QUIET) for call in calls] == tables  # again, the same names
    assert table_path(Arguments("./a/model", str(tmp_path / "train" / "cats")), QUIET) == tables[0]


def test_two_calls_that_start_at_once_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"sample_shape": [2]}')
    one, other = (Arguments(str(tmp_path), "moons", eps=eps) for eps in (1e-6, 1e-3))
    assert table_path(one, QUIET) != table_path(other, QUIET)


def test_what_is_replaced_is_said(runs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.csv"
    common = [str(runs / "sphere"), "--data", "mixture_2d", "--out", str(out)]
    assert program.main([*common, "--limit", "20"]) == 0
    assert program.main([*common, "--limit", "30"]) == 0
    assert f"{out} replaces the scores of mixture_2d by {runs / 'sphere'}" in capsys.readouterr().err


def test_finished_rows_are_reused(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.csv"
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "40", "--out", str(out)]
    assert program.main(args) == 0
    before = out.read_text()
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: pytest.fail("a row was scored again"))
    monkeypatch.setattr(story, "spectra_shown", lambda scorer: pytest.fail("a spectrum was computed again"))
    capsys.readouterr()
    assert program.main([*args, "--report", str(tmp_path / "r.html")]) == 0
    assert "already scored; 0 new" in capsys.readouterr().err
    assert (out.read_text(), (tmp_path / "r.html").exists()) == (before, True)


def test_a_shard_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    record = np.dtype([("score", "<f4")])
    mine = shards.Shards(tmp_path / "s.csv", record, {}, 4)
    other = tmp_path / f".s.csv.000000000.{os.getppid()}.shard"
    other.write_bytes(b"growing")
    mine.adopt(0, 4, 1)
    assert other.exists()
    shard = mine.begin(0)
    shard.append(np.zeros(4, record))
    shard.finish()
    mine.keep(mine.read(), np.zeros((1, 2)))
    assert other.exists()


def test_a_seeded_sample_keeps_its_ids(runs: Any, tmp_path: Path) -> None:
    x = read_samples("mixture_2d", 50).x
    np.savez(tmp_path / "x.npz", x=x, label=np.arange(50) % 3)
    args = [str(runs / "sphere"), "--data", str(tmp_path / "x.npz"), "--out"]
    assert program.main([*args, str(tmp_path / "all.csv")]) == 0
    assert program.main([*args, str(tmp_path / "some.csv"), "--sample", "9", "--sample-seed", "1"]) == 0
    everyone, some = {r["id"]: r for r in read(tmp_path / "all.csv")}, read(tmp_path / "some.csv")
    assert len(some) == 9
    for row in some:
        assert float(row["score"]) == pytest.approx(float(everyone[row["id"]]["score"]), abs=1e-5)
        assert row["label"] == str(int(row["id"]) % 3)


def test_a_truth_that_ranks_nothing(runs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = str(tmp_path / "x.npz"), tmp_path / "x.csv"
    np.savez(file, x=read_samples("mixture_2d", 50).x, log_density=np.zeros(50))
    assert program.main([str(runs / "sphere"), "--data", file, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "the exact log-density of" in said.err
    assert "nan" not in said.out + said.err
    assert "spearman" not in json.loads(out.with_suffix(".json").read_text())


def test_training_is_recognised_by_path_containment_and_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    train, fresh = (rng.standard_normal((20, 2)).astype(np.float32) for _ in range(2))
    np.save("a.npy", train)
    np.save("copy.npy", train[5:9])
    np.save("fresh.npy", fresh)
    for folder in ("photos/cats", "others"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(Path(folder, "1.png"))
    Path("copies").mkdir()
    shutil.copy("photos/cats/1.png", "copies/2.png")

    def answer(source: str, data: str) -> str:
        config = Config(data=Data(source))
        recipe = load_recipe() if Path(data).is_dir() else None
        return seen(config, data, read_samples(data, None, preprocessing=recipe))

    def load_recipe() -> Any:
        from jepa_jax.images import squashed

        return squashed((8, 8, 3))

    assert answer("a.npy", "a.npy") == answer("a.npy", "./a.npy") == answer("a.npy", str(tmp_path / "a.npy"))
    assert answer("a.npy", "./a.npy") == answer("a.npy", "copy.npy") == "trained on"
    assert answer("a.npy", "fresh.npy") == "held out"
    assert answer("photos", "photos/cats") == answer("photos/cats", "photos") == "trained on"
    assert answer("photos", "copies") == "trained on"
    assert answer("photos", "others") == "held out"
    assert answer("moons", "moons") == "held out"
    assert answer("gone.npy", "fresh.npy") == "not known"
    assert seen(None, "fresh.npy", read_samples("fresh.npy", None)) == "not known"


def test_rows_that_are_held_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x, held = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32), np.arange(20) >= 12
    np.savez("all.npz", x=x, held_out=held)
    np.save("known.npy", x[:5])
    np.save("new.npy", x[15:])
    config = Config(data=Data("all.npz"))
    whole = read_samples("all.npz", None)
    for data, samples, says in (
        ("all.npz", whole, "trained on"),
        ("./all.npz", whole, "trained on"),
        ("all.npz", whole.take(np.arange(12, 20)), "held out"),
        ("./all.npz", whole.take(np.arange(12, 20)), "held out"),
        ("known.npy", read_samples("known.npy", None), "trained on"),
        ("new.npy", read_samples("new.npy", None), "held out"),
    ):
        assert seen(config, data, samples) == says


def test_the_table_says_which_rows_are_held_out(runs: Any, tmp_path: Path) -> None:
    """By name, and --against compares with them alone."""
    x = np.asarray(read_samples("mixture_2d", 60).x)
    held = np.arange(60) % 3 == 0
    data = tmp_path / "x.npz"
    np.savez(data, x=x, held_out=held)
    config = json.loads((runs / "sphere" / "config.json").read_text())
    config["data"]["source"] = str(data)
    run = tmp_path / "run"
    shutil.copytree(runs / "sphere", run)
    (run / "config.json").write_text(json.dumps(config))
    assert program.main([str(run), "--data", str(data), "--out", str(tmp_path / "s.csv"), "--against", "noise"]) == 0
    assert [row["split"] for row in read(tmp_path / "s.csv")] == ["held out" if h else "train" for h in held]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["against_count"] == held.sum()
    assert summary["against_fitted_count"] == (~held).sum()
    assert summary["encoder_trained_on_them"] == "held out"


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDEN.iterdir() if p.is_dir()))
def test_every_layout_says_what_was_assumed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = GOLDEN / name
    path = folder if (folder / "config.json").exists() else next(p for p in folder.iterdir() if p.name in WEIGHTS)
    encoder = load(path, **WEIGHTS.get(path.name, {}))
    says = inputs.told(encoder)
    origin = says["origin"]
    assert {"family", "layout", "role", "notes", "positions", "heads", "activation"} <= origin.keys()
    assert says["preprocessing"]["source"]
    inputs.say_origin(encoder, Console(stderr=True, highlight=False, soft_wrap=True))
    said = capsys.readouterr().err
    assert origin["family"] in said
    assert origin["layout"] in said
    assert all(note.split()[-1] in said for note in origin["notes"])
    assert origin["family"] in repr(encoder)
    assert len(repr(encoder)) < 200


def test_weights_of_a_run_take_no_options(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(runs / "sphere"), "--data", "mixture_2d", "--heads", "3"]) == 2
    assert "--heads: only foreign weights take options" in capsys.readouterr().err
    assert isinstance(load(runs / "sphere"), Encoder)


def test_names_tell_forms_apart(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"sample_shape": [2]}')
    plain, parquet, curated, other = (
        Arguments(str(tmp_path), "moons", **options)
        for options in ({}, {"format": "parquet"}, {"curate": True}, {"curate": True, "eps": 1e-3})
    )
    names = [table_path(a, QUIET) for a in (plain, parquet, curated, other)]
    assert [name.name for name in names[:3]] == ["moons.csv", "moons.parquet", "moons-curated.csv"]
    assert len(set(names)) == 4
    assert {rows_path(name).name for name in names[:3]} == {"moons.csv"}
    assert rows_path(names[3]).name == names[3].name.replace("-curated", "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["m", "x.npz"], ["m", "--data", "x.npz"]),
        (["m", "x.npz", "--eps", "1"], ["m", "--data", "x.npz", "--eps", "1"]),
        (["m", "--data", "x.npz"], ["m", "--data", "x.npz"]),
        (["--data", "x.npz", "m"], None),
        (["m", "--eps", "1", "--data", "x.npz"], ["m", "--eps", "1", "--data", "x.npz"]),
        (["m"], ["m"]),
        (["--help"], ["--help"]),
    ],
)
def test_the_second_name_is_the_data(given: list[str], meant: list[str] | None) -> None:
    assert program.with_data(given) == (given if meant is None else meant)


@pytest.mark.parametrize("data", [["--data"], []])
def test_a_pattern_that_the_shell_expanded(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["m", *data, "a.png", "b.png", "c.png", "--eps", "1"]) == 2
    assert "--data takes one name, and here are 3, a.png, b.png, ...; name their folder" in capsys.readouterr().err
