"""The score program: columns, truth, resume, bad input."""

import csv
import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.density import log_law
from score import __main__ as program
from score import stream
from train.loop import train

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small trained runs: on the sphere, and with an unknown law."""
    folder = tmp_path_factory.mktemp("runs")
    for name, term in (("sphere", "uniformity"), ("free", "vicreg"), ("normal", "sigreg")):
        config = Config(
            steps=20,
            data=cfg.Data(batch_size=32),
            encoder=cfg.Encoder(widths=(16,), dim=8),
            objective=cfg.Objective(anti_collapse=term),
            monitor=cfg.Monitor(every=0, probes=32, figures=False),
        )
        train(config, folder / name, Console(file=io.StringIO()))
    config = dataclasses.replace(config, data=cfg.Data(source="digits", batch_size=32, holdout=0.5))
    train(config, folder / "digits", Console(file=io.StringIO()))
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["sphere", "normal", "free"])
def test_a_world(runs, tmp_path, capsys, name):
    out, spectra = tmp_path / "s.csv", tmp_path / "s.npz"
    args = [str(runs / name), "--data", "mixture_2d", "--out", str(out), "--spectra", str(spectra), "--limit", "150"]
    assert program.main([*args, "--batch-size", "64"]) == 0
    rows, summary = read(out), json.loads(out.with_suffix(".json").read_text())
    assert list(rows[0]) == ["id", "score", "log_density", "clipped"]
    assert [int(r["id"]) for r in rows] == list(range(150))
    # Against a plain loop of the library's own definition on the same samples.
    encoder = jepa_jax.load(runs / name)
    x = jepa_jax.WORLDS["mixture_2d"]().sample(jax.random.key(0), 1)[0]
    assert encoder(x[0]).shape == (8,)
    from jepa_jax.data import read_samples

    samples = read_samples("mixture_2d", 150)
    expected = np.array([float(jepa_jax.jepa_score(encoder, jnp.asarray(x))) for x in samples.x[:20]])
    np.testing.assert_allclose([float(r["score"]) for r in rows[:20]], expected, atol=2e-5)
    if name == "free":
        assert {r["log_density"] for r in rows} == {""}
        assert "log_density_spearman" not in summary
    else:
        law = [float(log_law(encoder(jnp.asarray(x)), encoder.law)) for x in samples.x[:20]]
        np.testing.assert_allclose([float(r["log_density"]) for r in rows[:20]], expected + law, atol=5e-5)
        assert "log_density_spearman" in summary
    saved = np.load(spectra)
    assert saved["singular_values"].shape == (150, 2)
    assert saved["singular_values"].dtype == np.float32
    assert (np.diff(saved["singular_values"], axis=1) <= 0).all()
    assert np.array_equal(saved["id"], np.arange(150))
    assert {"model", "data", "count", "options", "device", "seconds_per_sample", "spearman", "pearson"} <= set(summary)
    assert summary["count"] == 150
    assert str(out) in capsys.readouterr().out


def test_resume_gives_the_same_file(runs, tmp_path, monkeypatch):
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "100", "--batch-size", "16"]

    def call(name):
        return program.main([*args, "--out", str(tmp_path / f"{name}.csv"), "--spectra", str(tmp_path / f"{name}.npz")])

    assert call("whole") == 0
    append, calls = stream.Part.append, []

    def dies_on_the_third(self, *columns):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, *columns)

    monkeypatch.setattr(stream.Part, "append", dies_on_the_third)
    assert call("cut") == 1
    assert not (tmp_path / "cut.csv").exists()
    assert not (tmp_path / "cut.npz").exists()
    part = tmp_path / ".cut.csv.part"
    part.write_text(part.read_text() + "32,0.5")  # a line that the crash cut short
    counted = []
    monkeypatch.setattr(stream.Part, "append", lambda self, *c: (counted.append(len(c[0])), append(self, *c)))
    assert call("cut") == 0
    assert sum(counted) == 100 - 32  # two batches were there from before
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert np.array_equal(*(np.load(tmp_path / f"{n}.npz")["singular_values"] for n in ("cut", "whole")))
    assert not list(tmp_path.glob(".*"))


def test_rows_of_other_arguments_do_not_count(runs, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "64", "--batch-size", "16", "--out", str(out)]
    append = stream.Part.append

    def dies(self, *columns):
        append(self, *columns)
        raise KeyboardInterrupt

    monkeypatch.setattr(stream.Part, "append", dies)
    assert program.main([*args, "--eps", "0.5"]) == 1
    monkeypatch.undo()
    assert program.main(args) == 0
    summary = json.loads(out.with_suffix(".json").read_text())
    assert summary["clipped_mean"] == np.mean([int(r["clipped"]) for r in read(out)])
    whole = tmp_path / "whole.csv"
    assert program.main([*args[:-1], str(whole)]) == 0
    assert whole.read_text() == out.read_text()


def test_an_array_file_with_its_truth(runs, tmp_path):
    world = jepa_jax.WORLDS["mixture_2d"]()
    x, states = world.sample(jax.random.key(3), 200)
    truth = jax.vmap(world.log_density)(states)
    np.savez(tmp_path / "with.npz", x=x, log_density=truth)
    np.save(tmp_path / "without.npy", x)
    found = {}
    for file in ("with.npz", "without.npy"):
        out = tmp_path / f"{file}.csv"
        assert program.main([str(runs / "sphere"), "--data", str(tmp_path / file), "--out", str(out)]) == 0
        found[file] = json.loads(out.with_suffix(".json").read_text()), out.read_text()
    assert -1 <= found["with.npz"][0]["spearman"] <= 1
    assert "spearman" not in found["without.npy"][0]
    assert found["with.npz"][1] == found["without.npy"][1]


def test_digits_against_their_corruptions(runs, capsys):
    args = [str(runs / "digits"), "--data", "digits", "--limit", "120", "--against", "inverted", "rotated", "noise"]
    assert program.main(args) == 0
    summary = json.loads((runs / "digits" / "scores" / "digits.json").read_text())
    assert set(summary["against"]) == {"inverted", "rotated", "noise"}
    for table in summary["against"].values():
        assert {"JEPA-SCORE", "k-NN, embedding", "Mahalanobis, embedding", "compressed size"} <= set(table)
        assert all(np.isclose(c["auroc"] + c["auroc_reversed"], 1) for c in table.values())
    # Pixels drawn at random are far from every digit.
    assert summary["against"]["noise"]["k-NN, input"]["auroc"] > 0.95
    assert summary["encoder_trained_on_them"] is False
    assert summary["against_count"] < 120
    assert "has not seen these samples" in capsys.readouterr().out
    assert (runs / "digits" / "scores" / "digits_extremes.png").exists()


BAD = {
    "no model": (["nothere", "--data", "digits"], "is not a directory"),
    "no data": (["RUN"], "missing --data"),
    "another shape": (["RUN", "--data", "digits"], "[8, 8, 1]"),
    "unknown world": (["RUN", "--data", "mixtre_2d"], "did you mean mixture_2d"),
    "no rows": (["RUN", "--data", "mixture_2d", "--limit", "0"], "--limit is 0"),
    "eps": (["RUN", "--data", "mixture_2d", "--eps", "0"], "--eps is 0"),
    "mode": (["RUN", "--data", "mixture_2d", "--mode", "forwrd"], "did you mean forward"),
    "suffix": (["RUN", "--data", "mixture_2d", "--out", "scores.txt"], "must end in .csv"),
    "rotated vectors": (["RUN", "--data", "mixture_2d", "--against", "rotated"], "square images"),
    "no array file": (["RUN", "--data", "missing.npy"], "does not exist"),
}


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_get_one_line_and_exit_2(runs, args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main([str(runs / "sphere") if a == "RUN" else a for a in args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


def test_the_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--data", "--out", "--spectra", "--eps", "--mode", "--chunk", "--batch-size", "--limit"):
        assert option in shown
