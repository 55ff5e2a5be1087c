"""The mean score over several views of each sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_jax
from jepa_jax import density
from jepa_jax.data import read_samples
from jepa_jax.density import aggregate_views, base_log_density
from score import __main__ as program
from score.views import open_views
from tests.helpers.tables import table

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


@pytest.mark.parametrize("count", [1, 2, 9])
def test_views_are_aggregated_by_equation_4(count):
    scores = 1e3 + 3 * np.random.default_rng(0).standard_normal((20, count))
    weight = np.exp(-(scores - 1e3))
    expected = 1e3 - np.log(weight.mean(axis=1))
    score, error = (np.asarray(a) for a in aggregate_views(jnp.asarray(scores, jnp.float32)))
    np.testing.assert_allclose(score, expected, rtol=1e-6)
    if count == 1:
        assert np.isnan(error).all()
        assert np.array_equal(score, scores[:, 0].astype(np.float32))
        return
    np.testing.assert_allclose(error, weight.std(axis=1, ddof=1) / weight.mean(axis=1) / count**0.5, rtol=1e-3)
    assert (score >= scores.min(axis=1) - 1e-3).all()
    assert (score <= scores.mean(axis=1) + 1e-3).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_view_without_a_score_leaves_none(bad):
    score, error = aggregate_views(jnp.array([[1.0, bad, 2.0], [1.0, 1.0, 1.0]]))
    assert np.isnan(score[0])
    assert np.isnan(error[0])
    assert score[1] == 1
    assert error[1] == 0


@pytest.mark.parametrize(("name", "data"), [("normal", "mixture_2d"), ("digits", "digits"), ("sprites", "sprites")])
def test_views_of_the_program(runs, tmp_path, name, data):
    found = table(tmp_path / "s.csv", runs / name, "--data", data, "--limit", "12", "--views", "5")
    labelled = ["label"] if data == "digits" else []
    assert list(found) == ["id", "score", "log_density", "clipped", "standard_error", "percentile", *labelled]
    # By hand, of the last sample, which shares no batch here.
    encoder, samples = jepa_jax.load(runs / name), read_samples(data, 12)
    views = open_views(runs / name, data, samples, 5)(11, 12)
    assert len(views) == 5
    assert len({np.asarray(views[m]).tobytes() for m in range(5)}) == 5
    evaluate = jax.jit(lambda x: density.evaluate(encoder, x))
    each = [evaluate(views[m]) for m in range(5)]
    for column, values in {
        "score": [e.score for e in each],
        "log_density": [e.score + base_log_density(e.embedding, encoder.base) for e in each],
    }.items():
        s = np.array(values, np.float64)
        assert s.std() > 0
        assert found[column].astype(float)[11] == pytest.approx(s.min() - np.log(np.exp(s.min() - s).mean()), abs=2e-4)
    assert found["clipped"][11] == str(max(int(e.clipped) for e in each))


def test_batches_and_devices_leave_the_views_as_they_are(runs, tmp_path):
    args = [runs / "normal", "--data", "mixture_2d", "--limit", "12", "--views"]
    five = table(tmp_path / "five.csv", *args, "5")
    other = table(
        tmp_path / "other.csv", *args, "5", "--batch-size", "8", "--devices", "2"
    )  # views of one sample apart
    for column in ("score", "log_density", "standard_error"):
        np.testing.assert_allclose(five[column].astype(float), other[column].astype(float), atol=5e-5)
    one, plain = table(tmp_path / "one.csv", *args, "1"), table(tmp_path / "plain.csv", *args[:-1])
    assert list(one) == ["id", "score", "log_density", "clipped", "percentile"]
    assert all(np.array_equal(one[name], plain[name]) for name in one)


def test_views_depend_on_the_row_alone(runs, tmp_path):
    x = read_samples("mixture_2d", 30).x
    np.save(tmp_path / "x.npy", x)
    args = [runs / "sphere", "--data", tmp_path / "x.npy", "--views", "3"]
    whole, first = (table(tmp_path / f"{n}.csv", *args, "--limit", n) for n in (30, 11))
    np.testing.assert_allclose(whole["score"].astype(float)[:11], first["score"].astype(float), atol=1e-5)
    np.save(tmp_path / "x.npy", np.broadcast_to(x[:1], x.shape))  # one sample, but other views of it in each row
    same = table(tmp_path / "same.csv", *args)
    assert len(set(same["score"])) > 20


def test_views_that_cannot_be_made(runs, tmp_path, capsys):
    np.save(tmp_path / "x.npy", read_samples("sprites", 3).x)
    assert program.main([str(runs / "sprites"), "--data", str(tmp_path / "x.npy"), "--views", "2"]) == 2
    assert "latents of sprites" in capsys.readouterr().err
