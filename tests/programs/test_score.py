"""The score program: columns, truth, resume, bad input."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jepa_jax
from jepa_jax.data import read_samples
from jepa_jax.density import base_log_density, batches
from score import __main__ as program
from score import inputs, shards
from score.naming import table_path
from score.options import Arguments
from tests.helpers.scores import unfinished
from tests.helpers.tables import read, table

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


@pytest.mark.parametrize("name", ["sphere", "normal", "free"])
def test_a_world(runs, tmp_path, capsys, name):
    out, spectra = tmp_path / "s.csv", tmp_path / "s.npz"
    args = [str(runs / name), "--data", "mixture_2d", "--out", str(out), "--spectra", str(spectra), "--limit", "150"]
    assert program.main([*args, "--batch-size", "64"]) == 0
    rows, summary = read(out), json.loads(out.with_suffix(".json").read_text())
    assert list(rows[0]) == ["id", "score", "log_density", "clipped", "percentile"]
    assert [int(r["id"]) for r in rows] == list(range(150))
    # Against a plain loop of the library's own definition on the same samples.
    encoder = jepa_jax.load(runs / name)
    x = jepa_jax.WORLDS["mixture_2d"]().sample(jax.random.key(0), 1)[0]
    assert encoder(x[0]).shape == (8,)
    samples = read_samples("mixture_2d", 150)
    expected = np.array([float(jepa_jax.jepa_score(encoder, jnp.asarray(x))) for x in samples.x[:20]])
    np.testing.assert_allclose([float(r["score"]) for r in rows[:20]], expected, atol=2e-5)
    if name == "free":
        assert {r["log_density"] for r in rows} == {""}
        assert "log_density_spearman" not in summary
    else:
        law = [float(base_log_density(encoder(jnp.asarray(x)), encoder.base)) for x in samples.x[:20]]
        np.testing.assert_allclose([float(r["log_density"]) for r in rows[:20]], expected + law, atol=5e-5)
        assert "log_density_spearman" in summary
    saved = np.load(spectra)
    assert saved["singular_values"].shape == (150, 2)
    assert saved["singular_values"].dtype == np.float32
    assert (np.diff(saved["singular_values"], axis=1) <= 0).all()
    assert np.array_equal(saved["id"], np.arange(150))
    assert 0 <= summary["arithmetic_error"] < 1e-3  # float32 against float64
    assert summary["arithmetic_error_samples"] == 8
    assert {"model", "data", "count", "options", "device", "seconds_per_sample", "spearman", "pearson"} <= set(summary)
    assert summary["count"] == 150
    assert str(out) in capsys.readouterr().out


def test_resume_gives_the_same_file(runs, tmp_path, monkeypatch):
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "100", "--batch-size", "16"]

    def call(name):
        return program.main([*args, "--out", str(tmp_path / f"{name}.csv"), "--spectra", str(tmp_path / f"{name}.npz")])

    assert call("whole") == 0
    append, calls = shards.Shard.append, []

    def dies_on_the_third(self, rows):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, rows)

    monkeypatch.setattr(shards.Shard, "append", dies_on_the_third)
    assert call("cut") == 1
    assert not (tmp_path / "cut.csv").exists()
    assert not (tmp_path / "cut.npz").exists()
    (part,) = tmp_path.glob(".cut.csv.*.shard")
    part.write_bytes(part.read_bytes() + b"123")  # a record that the crash cut short
    counted = []
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: (counted.append(len(rows)), append(self, rows)))
    assert call("cut") == 0
    assert sum(counted) == 100 - 32  # two batches were there from before
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert np.array_equal(*(np.load(tmp_path / f"{n}.npz")["singular_values"] for n in ("cut", "whole")))
    assert not unfinished(tmp_path)


def test_rows_of_other_arguments_do_not_count(runs, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "64", "--batch-size", "16", "--out", str(out)]
    append = shards.Shard.append

    def dies(self, rows):
        append(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(shards.Shard, "append", dies)
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


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("a/x.npz", "x.csv"),
        (".", "work.csv"),
        ("tfds:jepa_sprites/small:test", "jepa_sprites_small_test.csv"),
        ("tfds:mnist:train[:25%]+test", "mnist_train_25_test.csv"),
    ],
)
def test_the_table_is_named_after_the_data(runs, tmp_path, monkeypatch, data, name):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run = runs / "sphere"
    assert table_path(Arguments(str(run), data), Console()) == run / "scores" / name
    (run / "scores" / f".{name}.call").unlink()  # as if the call had ended


@pytest.mark.slow
def test_digits_against_their_corruptions(runs, capsys):
    args = [str(runs / "digits"), "--data", "digits", "--limit", "120", "--against", "inverted", "rotated", "noise"]
    assert program.main(args) == 0
    summary = json.loads((runs / "digits" / "scores" / "digits.json").read_text())
    assert set(summary["against"]) == {"inverted", "rotated", "noise"}
    for detectors in summary["against"].values():
        assert {"JEPA-SCORE", "k-NN, embedding", "Mahalanobis, embedding", "compressed size"} <= set(detectors)
        assert all(np.isclose(c["auroc"] + c["auroc_reversed"], 1) for c in detectors.values())
    # Pixels drawn at random are far from every digit.
    assert summary["against"]["noise"]["k-NN, input"]["auroc"] > 0.95
    assert summary["encoder_trained_on_them"] == "held out"
    assert summary["against_count"] < 120
    assert "it was not trained on these samples" in capsys.readouterr().out
    assert (runs / "digits" / "scores" / "digits_extremes.png").exists()


WORLD = ("--data", "mixture_2d", "--limit", "20")


BAD = {
    "no model": (["nothere", "--data", "digits"], "does not exist"),
    "no data": (["RUN"], "missing --data"),
    "another shape": (["RUN", "--data", "digits"], "[8, 8, 1]"),
    "unknown world": (["RUN", "--data", "mixtre_2d"], "did you mean mixture_2d"),
    "no rows": (["RUN", "--data", "mixture_2d", "--limit", "0"], "--limit is 0"),
    "eps": (["RUN", "--data", "mixture_2d", "--eps", "0"], "--eps is 0"),
    "mode": (["RUN", "--data", "mixture_2d", "--mode", "forwrd"], "did you mean forward"),
    "suffix": (["RUN", "--data", "mixture_2d", "--out", "scores.txt"], "must end in .csv"),
    "rotated vectors": (["RUN", "--data", "mixture_2d", "--against", "rotated"], "square images"),
    "no array file": (["RUN", "--data", "missing.npy"], "does not exist"),
    "rank 0": (["RUN", *WORLD, "--rank", "0"], "with K = 8 and D = 2 it goes from 1 to 2"),
    "rank above": (["RUN", *WORLD, "--rank", "3"], "from 1 to 2"),
    "tangent above": (["RUN", *WORLD, "--tangent", "3"], "from 1 to 2"),
    "rank and tangent": (["RUN", *WORLD, "--rank", "1", "--tangent", "1"], "take one"),
    "tangent of a world": (["SPRITES", "--data", "sprites", "--tangent", "3"], "manifold of 4 dimensions"),
    "tangent and views": (["RUN", *WORLD, "--tangent", "1", "--views", "2"], "leave out --views"),
    "spectra and views": (["RUN", *WORLD, "--spectra", "s.npz", "--views", "2"], "leave out --views"),
    "no views": (["RUN", *WORLD, "--views", "0"], "--views is 0"),
    "precision": (["RUN", *WORLD, "--precision", "tf32"], "this CPU computes in float32"),
    "qr and spectra": (["RUN", *WORLD, "--method", "qr", "--spectra", "s.npz"], "--spectra needs singular values"),
    "qr and rank": (["RUN", *WORLD, "--method", "qr", "--rank", "1"], "--rank needs singular values"),
    "qr with null directions": (["DIGITS", "--data", "digits", "--method", "qr"], "1 null directions"),
    "devices": (["RUN", *WORLD, "--devices", "99"], "this process has 4"),
    "shards": (["RUN", *WORLD, "--shard-parameters", "3"], "must divide the 4 devices"),
    "process alone": (["RUN", *WORLD, "--process", "1"], "go together"),
    "process above": (["RUN", *WORLD, "--processes", "2", "--process", "2"], "from 0 to 1"),
    "coordinator alone": (["RUN", *WORLD, "--coordinator", "localhost:1"], "go together"),
    "distributed": (["RUN", *WORLD, "--distributed", "--process", "1"], "finds the processes by itself"),
}


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_get_one_line_and_exit_2(runs, args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": "sphere", "DIGITS": "digits", "SPRITES": "sprites"}
    assert program.main([str(runs / names[a]) if a in names else a for a in args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


def test_the_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Arguments):
        assert field.name == "model" or f"--{field.name.replace('_', '-')}" in shown


# --- parts of the spectrum, and of the space ---


@pytest.mark.slow
def test_the_top_of_the_spectrum(runs, tmp_path):
    args = [runs / "digits", "--data", "digits", "--limit", "20"]
    top = table(tmp_path / "3.csv", *args, "--rank", "3", "--spectra", tmp_path / "s.npz")
    assert list(top) == ["id", "score", "log_density", "clipped", "top_3", "percentile", "label"]
    sigma = np.load(tmp_path / "s.npz")["singular_values"]
    np.testing.assert_allclose(top["top_3"].astype(float), np.log(sigma[:, :3]).sum(axis=1), rtol=1e-5)
    for more in ([], ["--drop-clipped"], ["--eps", "0.01"]):
        all_of_it = table(tmp_path / "8.csv", *args, "--rank", "8", *more)
        assert (all_of_it["clipped"] >= "1").all()  # the sphere's null direction
        np.testing.assert_allclose(all_of_it["top_8"].astype(float), all_of_it["score"].astype(float), atol=1e-4)


def test_the_top_is_compared_with_the_truth(runs, tmp_path):
    table(tmp_path / "s.csv", runs / "sphere", *WORLD, "--rank", "2")
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["top_spearman"] == summary["spearman"]  # all there are
    table(tmp_path / "s.csv", runs / "sphere", *WORLD, "--rank", "1")
    assert json.loads((tmp_path / "s.json").read_text())["top_spearman"] != summary["spearman"]


def test_clipped_values_are_dropped(runs, tmp_path):
    kept, dropped = (
        table(tmp_path / "d.csv", runs / "digits", "--data", "digits", "--limit", "9", *more)
        for more in ([], ["--drop-clipped"])
    )
    missing = kept["clipped"].astype(float) * np.log(1e-6)
    np.testing.assert_allclose(dropped["score"].astype(float), kept["score"].astype(float) - missing, atol=1e-4)


def test_the_score_along_a_known_manifold(runs, tmp_path):
    args = [runs / "sprites", "--data", "sprites", "--limit", "10", "--tangent", "4"]
    along = table(tmp_path / "t.csv", *args, "--spectra", tmp_path / "t.npz")
    assert json.loads((tmp_path / "t.json").read_text())["tangent"] == {"dim": 4, "source": "exact"}
    encoder, world = jepa_jax.load(runs / "sprites"), jepa_jax.WORLDS["sprites"]()
    samples = read_samples("sprites", 10)
    np.testing.assert_allclose(jax.vmap(world.render)(samples.states), samples.x, atol=1e-6)
    for i in (0, 9):
        j = np.asarray(jax.jacrev(encoder)(jnp.asarray(samples.x[i])), np.float64).reshape(8, 256)
        columns = np.asarray(jax.jacfwd(world.render)(jnp.asarray(samples.states[i])), np.float64).reshape(256, 4)
        sigma = np.linalg.svd(j @ np.linalg.qr(columns)[0], compute_uv=False)
        assert along["score"].astype(float)[i] == pytest.approx(np.log(sigma).sum(), abs=1e-3)
        np.testing.assert_allclose(np.load(tmp_path / "t.npz")["singular_values"][i], sigma, rtol=1e-3)


def test_the_score_along_a_manifold_found_from_neighbours(runs, tmp_path):
    args = [runs / "sphere", "--data", "mixture_2d", "--limit", "60"]
    plain, along = table(tmp_path / "p.csv", *args), table(tmp_path / "t.csv", *args, "--tangent", "2")
    # The tangent space of a plane is all of it.
    np.testing.assert_allclose(plain["score"].astype(float), along["score"].astype(float), atol=1e-4)
    assert json.loads((tmp_path / "t.json").read_text())["tangent"] == {"dim": 2, "source": "neighbours"}
    one = table(tmp_path / "t.csv", *args, "--tangent", "1")
    assert np.abs(one["score"].astype(float) - plain["score"].astype(float)).min() > 1e-4


# --- rows without a score ---


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("against", [False, True])
def test_rows_without_a_score(runs, tmp_path, monkeypatch, capsys, views, against):
    x = read_samples("mixture_2d", 40).x.copy()
    x[3, 0], x[30, 0] = 77, 99
    np.savez(tmp_path / "x.npz", x=x, log_density=read_samples("mixture_2d", 40).log_density)
    encoder = jepa_jax.load(runs / "normal")

    def apply(params, x):
        bent = jnp.sqrt(jnp.maximum(jnp.abs(x[0] - 77) - 1, 0.0))  # finite, but its derivative near 77 is not
        return encoder.apply(params, x) + bent + jnp.where(x[0] > 90, jnp.nan, 0.0)

    monkeypatch.setattr(inputs, "load_run", lambda model, weights, step: dataclasses.replace(encoder, apply=apply))
    args = [runs / "normal", "--data", tmp_path / "x.npz", "--views", views]
    found = table(tmp_path / "s.csv", *args, *(["--against", "noise"] if against else []))
    assert list(found) == [
        *("id", "score", "log_density", "clipped"), *(["standard_error"] if views > 1 else []), "percentile",
        "reason",
    ]  # fmt: skip
    reasons = {"3": "the Jacobian is not finite", "30": "the embedding is not finite"}
    assert {i: r for i, r in zip(found["id"], found["reason"], strict=True) if r} == reasons
    for column in ("score", "log_density"):
        assert {i for i, v in zip(found["id"], found[column], strict=True) if not v} == set(reasons)
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["without_score_count"] == 2
    assert summary["without_score"] == [{"id": int(i), "reason": r} for i, r in reasons.items()]
    assert -1 <= summary["spearman"] <= 1  # of the others
    assert np.isfinite(summary["score_mean"])
    shown = capsys.readouterr().out
    assert "2 samples have no score" in shown
    assert all(reason in shown for reason in reasons.values())


def test_numbers_too_large_for_float32_leave_the_rest(runs, tmp_path):
    x = read_samples("mixture_2d", 20).x.copy()
    np.save(tmp_path / "fine.npy", x)
    x[7] = 1e30
    np.save(tmp_path / "x.npy", x)
    fine, found = (table(tmp_path / "s.csv", runs / "sphere", "--data", tmp_path / n) for n in ("fine.npy", "x.npy"))
    rest = np.arange(20) != 7
    assert np.array_equal(found["score"][rest], fine["score"][rest])


def test_no_rows_with_a_score_is_no_crash(runs, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.full((3, 2), 3e38, np.float32))
    assert (
        program.main([str(runs / "normal"), "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "s.csv")]) == 2
    )
    assert "no sample of" in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()


def test_no_samples(runs, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((0, 2), np.float32))
    assert program.main([str(runs / "sphere"), "--data", str(tmp_path / "x.npy")]) == 2
    assert "is empty" in capsys.readouterr().err


# --- devices, memory ---


@pytest.mark.parametrize("options", [["--devices", "1"], ["--devices", "3"], ["--shard-parameters", "2"]])
def test_devices_change_nothing(runs, tmp_path, options):
    assert jax.local_device_count() == 4
    args = [runs / "normal", "--data", "mixture_2d", "--limit", "30"]
    four, other = table(tmp_path / "4.csv", *args), table(tmp_path / "o.csv", *args, *options)
    assert json.loads((tmp_path / "4.json").read_text())["devices"] == 4
    for column in ("score", "log_density"):
        np.testing.assert_allclose(other[column].astype(float), four[column].astype(float), atol=2e-5)
    assert np.array_equal(other["clipped"], four["clipped"])


def test_a_run_goes_on_with_other_devices(runs, tmp_path, monkeypatch):
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "64", "--batch-size", "16"]
    whole = table(tmp_path / "whole.csv", *args)
    append, counted = shards.Shard.append, []

    def dies(self, rows):
        append(self, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(shards.Shard, "append", dies)
    assert program.main([*args, "--out", str(tmp_path / "s.csv")]) == 1
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: (counted.append(len(rows)), append(self, rows)))
    found = table(tmp_path / "s.csv", *args, "--devices", "1")
    assert sum(counted) == 48
    np.testing.assert_allclose(found["score"].astype(float), whole["score"].astype(float), atol=2e-5)


def test_short_memory_is_one_line(runs, tmp_path, monkeypatch, capsys):
    args = [runs / "sphere", *WORLD, "--batch-size", "20"]
    plain = table(tmp_path / "s.csv", *args)
    monkeypatch.setattr(batches, "available", lambda platform, memory=None: 1000)
    capsys.readouterr()
    found = table(tmp_path / "t.csv", *args)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "warning: a batch of 20 needs more memory than there is" in error
    np.testing.assert_allclose(found["score"].astype(float), plain["score"].astype(float), atol=2e-5)


@pytest.mark.parametrize("method", ["svd", "qr", "gram64"])
def test_methods_agree(runs, tmp_path, method):
    args = [runs / "normal", "--data", "mixture_2d", "--limit", "20"]
    auto, other = table(tmp_path / "a.csv", *args), table(tmp_path / "o.csv", *args, "--method", method)
    np.testing.assert_allclose(other["score"].astype(float), auto["score"].astype(float), atol=1e-3)
    assert (tmp_path / "o.png").stat().st_size > 0
