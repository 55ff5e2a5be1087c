"""The estimator for scikit-learn: its checks, the numbers of the program, few rows, samples, files and signs."""

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import jepa_jax
from jepa_jax import JEPADensity, PyODDetector, config, pyod_scores
from train.__main__ import main as train

pytestmark = pytest.mark.filterwarnings("ignore:.*are fewer than the 200 that the recipe needs:UserWarning")
RNG = np.random.default_rng(2)
ROWS = np.r_[RNG.standard_normal((200, 2)) * [1, 5], RNG.standard_normal((100, 2)) + np.array([6, 0])]
QUICK: dict[str, Any] = {"steps": 30, "members": 2}


@pytest.fixture(scope="module")
def fitted() -> JEPADensity:
    return JEPADensity(**QUICK).fit(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(JEPADensity(steps=3, members=1))),
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", ""),
)
def test_scikit_learn_accepts_it(estimator: JEPADensity, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_it_is_the_program_arrays(tmp_path: Path) -> None:
    """The same rows, steps and seed give the log-densities of `python -m train arrays`, and its summary."""
    np.save(tmp_path / "x.npy", ROWS.astype(np.float32))
    arguments = ["--data.source", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), "--monitor.no-figures"]
    changed = ["--steps", "30", "--encoder.members", "1"]
    assert train(["arrays", *arguments, *changed]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found = JEPADensity(steps=30, members=1).fit(ROWS.astype(np.float32))
    assert found.best_step_ == summary["best_step"]
    assert found.heldout_nats_ == pytest.approx(summary["heldout_nats"], abs=1e-5)
    assert found.heldout_nats_kde_ == pytest.approx(summary["heldout_nats_kde"], abs=1e-6)
    assert found.verdict_ == summary["verdict"]
    density = jax.jit(jax.vmap(jepa_jax.load(tmp_path / "run").log_density))
    np.testing.assert_allclose(found.score_samples(ROWS[:20]), density(jnp.asarray(ROWS[:20], jnp.float32)), atol=1e-3)


def test_signs_and_contamination(fitted: JEPADensity) -> None:
    far = np.array([[100.0, 0.0], [0.0, 200.0]])
    scores = fitted.score_samples(ROWS)
    assert scores.dtype == np.float64
    assert fitted.score_samples(far).max() < scores.min()  # high is typical
    np.testing.assert_array_equal(fitted.predict(far), -1)
    np.testing.assert_allclose(fitted.decision_function(ROWS), scores - fitted.offset_)
    assert (fitted.predict(ROWS) == -1).sum() == 30
    assert fitted.score(ROWS) == pytest.approx(scores.mean())
    # PyOD's signs are the other way round.
    np.testing.assert_array_equal(pyod_scores(fitted, ROWS), -scores)
    detector = PyODDetector(JEPADensity(**QUICK)).fit(ROWS)
    np.testing.assert_allclose(detector.decision_scores_, -scores)
    np.testing.assert_array_equal(detector.labels_, fitted.predict(ROWS) == -1)
    np.testing.assert_array_equal(detector.predict(far), 1)
    assert detector.decision_function(far).min() > detector.threshold_


def test_the_density_integrates_to_one(fitted: JEPADensity) -> None:
    side = np.linspace(-40, 40, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    mass = np.exp(fitted.score_samples(grid)).sum() * (side[1] - side[0]) ** 2
    assert mass == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_samples_have_the_moments_of_the_density(fitted: JEPADensity) -> None:
    drawn = fitted.sample(2000, random_state=0)
    assert drawn.shape == (2000, 2)
    np.testing.assert_array_equal(drawn[:5], fitted.sample(2000, random_state=0)[:5])
    side = np.linspace(-40, 40, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    weight = np.exp(fitted.score_samples(grid))
    mean = (grid * weight[:, None]).sum(axis=0) / weight.sum()
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=4 * drawn.std(axis=0).max() / 2000**0.5)
    with pytest.raises(ValueError, match="n_samples is 0"):
        fitted.sample(0)


def test_few_rows_are_said() -> None:
    with pytest.warns(UserWarning, match="^38 rows are fewer than the 200"):
        few = JEPADensity(steps=5).fit(ROWS[::8])
    assert few.verdict_ == "few-rows"
    assert isinstance(few.config_.encoder, config.Triangular)
    assert few.config_.encoder.members == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        JEPADensity(steps=1, members=1).fit(ROWS)


def test_files_and_pickles_keep_all(fitted: JEPADensity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert capsys.readouterr().out == ""  # silent by default
    scores = fitted.score_samples(ROWS)
    fitted.save(tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.pkl"))
    for other in (JEPADensity.load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.score_samples(ROWS), scores)
        np.testing.assert_array_equal(other.predict(ROWS), fitted.predict(ROWS))
        assert other.get_params() == fitted.get_params()
        for name in ("offset_", "best_step_", "heldout_nats_", "heldout_nats_gmm_", "verdict_", "notes_", "config_"):
            assert getattr(other, name) == getattr(fitted, name), name
    # It is a run directory too.
    encoder = jepa_jax.load(tmp_path / "model")
    assert float(encoder.log_density(jnp.asarray(ROWS[0], jnp.float32))) == pytest.approx(scores[0], abs=1e-4)
    with pytest.raises(jepa_jax.ConfigError, match="exists already"):
        fitted.save(tmp_path / "model")
    with pytest.raises(jepa_jax.ConfigError, match="holds no estimator"):
        JEPADensity.load(tmp_path)
    (tmp_path / "model" / "estimator.json").write_text("{")
    with pytest.raises(jepa_jax.ConfigError, match="is damaged"):
        JEPADensity.load(tmp_path / "model")


def test_names_of_columns_are_kept(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["width", "height"])
    model = JEPADensity(**QUICK).fit(frame)
    model.save(tmp_path / "model")
    other = JEPADensity.load(tmp_path / "model")
    assert list(other.feature_names_in_) == ["width", "height"]
    with pytest.raises(ValueError, match="feature names"):
        other.score_samples(frame[["height", "width"]])


@pytest.mark.slow
def test_pipelines_searches_and_clones() -> None:
    pipeline = make_pipeline(StandardScaler(), JEPADensity(steps=5, members=1, contamination=0.2)).fit(ROWS)
    assert (pipeline.predict(ROWS) == -1).sum() == 60
    search = GridSearchCV(JEPADensity(members=1), {"steps": [1, 60]}, cv=2).fit(ROWS[RNG.permutation(300)][:300])
    assert search.best_params_ == {"steps": 60}  # the log-density of rows that were not trained on
    copy = clone(JEPADensity(steps=7))
    assert copy.steps == 7
    assert not hasattr(copy, "encoder_")


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    model = JEPADensity(steps=2, members=1, verbose=True).fit(np.c_[ROWS, np.ones(300)])
    said = capsys.readouterr().out
    assert "step      2  loss" in said
    assert "column 2 never varies" in said
    assert model.sentence_ in said


@pytest.mark.parametrize(
    ("options", "rows", "says"),
    [
        ({"contamination": 0.0}, ROWS, "contamination is 0.0"),
        ({"contamination": 0.6}, ROWS, "contamination is 0.6"),
        ({"steps": 0}, ROWS, "steps"),
        ({"members": 0}, ROWS, "members"),
        ({"holdout": 1.5}, ROWS, "holdout"),
        ({}, ROWS[:3], "minimum of 4 is required"),
        ({}, ROWS[:, 0], "Expected 2D array"),
        ({}, np.zeros((300, 2)), "all samples are the same"),
        ({}, ROWS * 1e30, "too large to train on"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], rows: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        JEPADensity(**options).fit(rows)


def test_the_recipe_is_that_of_the_config() -> None:
    from configs.arrays import get_config

    assert get_config() == config.automatic()
