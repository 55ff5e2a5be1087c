"""Weights of mixtures, the baselines, and the verdict on a density in nats."""

import numpy as np
import pytest
from scipy import stats

from jepa_jax.evaluate import Baselines, baselines, judge, knn_log_density, mixture_log_density, mixture_weights, spread

RNG = np.random.default_rng(5)


def test_weights_are_those_of_the_mixture_that_drew_the_samples() -> None:
    left = RNG.random(20_000) < 0.3
    x = np.where(left, RNG.normal(-2, 1, 20_000), RNG.normal(2, 0.5, 20_000))
    logs = np.stack([stats.norm.logpdf(x, -2, 1), stats.norm.logpdf(x, 2, 0.5), stats.norm.logpdf(x, 40, 1)], 1)
    weights = mixture_weights(logs)
    np.testing.assert_allclose(weights, [0.3, 0.7, 0], atol=0.01)
    exact = np.log(0.3 * np.exp(logs[:, 0]) + 0.7 * np.exp(logs[:, 1]))
    np.testing.assert_allclose(mixture_log_density(logs, [0.3, 0.7, 0]), exact, atol=1e-12)
    np.testing.assert_allclose(spread(logs[:, :2], [0.5, 0.5]), np.abs(logs[:, 0] - logs[:, 1]) / 2, rtol=1e-9)


def test_baselines_are_normalised_in_the_units_of_the_columns() -> None:
    scale = np.array([1e-3, 50.0])
    draw = lambda n: RNG.standard_normal((n, 2)) * scale + [0, 100]  # noqa: E731
    train, held = draw(6000), draw(2000)
    found = baselines(train, held, train.mean(0), train.std(0))
    exact = stats.norm.logpdf((held - [0, 100]) / scale).sum(1) - np.log(scale).sum()
    assert found.components == 1
    assert found.gmm is not None
    assert found.gmm.mean() == pytest.approx(exact.mean(), abs=0.01)
    assert 0 < (exact - found.kde).mean() < 0.1
    # The density of the kernels integrates to 1: its mean over a uniform box is 1 / volume.
    box = RNG.uniform(-5, 5, (20_000, 2))
    total = np.exp(baselines(train, box * scale + [0, 100], train.mean(0), train.std(0)).kde).mean()
    assert total * 100 * scale.prod() == pytest.approx(1, abs=0.05)


def test_neighbours_follow_the_density() -> None:
    x = RNG.standard_normal((2000, 2))
    assert stats.spearmanr(knn_log_density(x), stats.norm.logpdf(x).sum(1))[0] > 0.9


@pytest.mark.parametrize(
    ("ours", "options", "verdict"),
    [
        (-1.0, {}, "healthy"),
        (-1.25, {}, "healthy"),  # a Gaussian mixture may be a little better
        (-1.4, {}, "gmm-better"),
        (-2.1, {}, "kde-better"),
        (-1.0, {"degenerate": True}, "degenerate"),
        (-1.0, {"rows": 120}, "few-rows"),
        (float("nan"), {}, "collapsed"),
    ],
)
def test_verdict_of_a_density_in_nats(ours: float, options: dict, verdict: str) -> None:
    others = Baselines(np.full(10, -2.0), np.full(10, -1.2), 0.1, 2)
    found = judge(np.full(10, ours), others, 3, **{"rows": 20_000, "degenerate": False, **options})
    assert found.verdict == verdict
    assert (verdict == "healthy") == ("do not trust" not in found.sentence and "lower" not in found.sentence)
