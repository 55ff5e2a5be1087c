"""The measured law of the embeddings in the score program."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_jax
from jepa_jax import evaluate
from jepa_jax.data import read_samples
from score import __main__ as program
from tests.helpers.tables import read
from train import __main__ as train


@pytest.mark.parametrize("law", ["knn", "kde"])
def test_a_measured_law_changes_the_log_density_alone(runs, tmp_path, law, capsys):
    """It is measured among the training embeddings of a run, or if there are none among those of the samples."""
    bare = tmp_path / "bare"
    shutil.copytree(runs / "free", bare)
    (bare / "embeddings.npz").unlink()
    for name, model, more in (("a", "free", []), ("b", "free", ["--law", law]), ("c", bare, ["--law", law])):
        args = [str(runs / model), "--data", "mixture_2d", "--limit", "200", *more]
        assert program.main([*args, "--out", str(tmp_path / f"{name}.csv")]) == 0
    assert "the law is measured among the scored samples" in " ".join(capsys.readouterr().err.split())
    plain, measured = (read(tmp_path / f"{name}.csv") for name in "ab")
    assert [r["score"] for r in plain] == [r["score"] for r in measured]
    encoder, samples = jepa_jax.load(runs / "free"), read_samples("mixture_2d", 200)
    assert encoder.base is None
    with np.load(runs / "free" / "embeddings.npz") as kept:
        known = kept["z"]
    assert known.shape == (10_000, 8)
    log_q = evaluate.MeasuredLaw(law, known, 2)(jax.vmap(encoder)(jnp.asarray(samples.x)))
    expected = np.array([float(r["score"]) for r in plain]) + log_q
    np.testing.assert_allclose([float(r["log_density"]) for r in measured], expected, atol=1e-3)
    summary, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "bc")
    assert (summary["law"], summary["law_measured_among"]) == (law, "training")
    assert summary["log_density_spearman"] > 0.5
    assert other["law_measured_among"] == "scored"
    assert other["log_density_spearman"] > 0.5


def test_a_law_among_too_few_samples_is_refused(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((25, 2)).astype(np.float32))
    args = ["arrays_infonce", "--data.source", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run")]
    assert train.main([*args, "--density.law", "knn"]) == 2
    assert "--density.law needs at least 31 training samples" in capsys.readouterr().err
