"""Agreement, detectors, ranks and verdicts against SciPy and known cases."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from jepa_jax.evaluate import (
    Detectors,
    agreement,
    auroc,
    compressed_size,
    density_agreement,
    diagnose,
    effective_rank,
    fold_fraction,
    knn_distance,
    mahalanobis,
    moments,
    part_agreement,
)

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """The same random numbers for a test, whichever ran before it."""
    RNG.bit_generator.state = START


@pytest.mark.parametrize("ties", [False, True])
def test_agreement_is_scipys(ties: bool) -> None:
    true = RNG.standard_normal(200)
    learned = 0.5 * true + RNG.standard_normal(200)
    if ties:
        true, learned = true.round(), learned.round()
    result = agreement(learned, true)
    assert result.spearman == pytest.approx(stats.spearmanr(learned, true).statistic)
    assert result.pearson == pytest.approx(stats.pearsonr(learned, true).statistic)
    assert result.slope == pytest.approx(stats.linregress(true, learned).slope)


def test_agreement_of_related_densities() -> None:
    true = RNG.standard_normal(100)
    np.testing.assert_allclose(agreement(3 * true - 7, true), (1, 1, 3))
    np.testing.assert_allclose(agreement(-true, true), (-1, -1, -1))
    assert agreement(np.exp(3 * true), true).spearman == pytest.approx(1)
    assert agreement(np.exp(3 * true), true).pearson < 0.9


@pytest.mark.parametrize(
    ("learned", "true"),
    [
        (np.full(50, 3.0), RNG.standard_normal(50)),
        (RNG.standard_normal(50), np.full(50, -2.0)),
        (-200 + 1e-5 * RNG.standard_normal(50), RNG.standard_normal(50)),  # the rounding of a constant in float32
        (np.append(RNG.standard_normal(49), np.nan), RNG.standard_normal(50)),
        (RNG.standard_normal(50), np.append(RNG.standard_normal(49), -np.inf)),
        (np.arange(2.0), np.arange(2.0)),
        (np.arange(9.0), np.arange(9.0)),  # too few to support a statement
    ],
)
def test_what_is_constant_or_not_finite_agrees_with_nothing(learned: np.ndarray, true: np.ndarray) -> None:
    assert np.isnan(agreement(learned, true)).all()


def test_nothing_is_said_of_a_few_samples() -> None:
    few, enough = np.arange(9.0), np.arange(10.0)
    assert density_agreement(few, few, few, few) == part_agreement({"top": few}, few) == {}
    assert density_agreement(enough, enough)["spearman"] == pytest.approx(1)
    assert density_agreement(enough, np.zeros(len(enough))) == {}  # a constant ranks nothing


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((1,), (1,)), ((2, 2), (2, 2)), ((0,), (0,))])
def test_agreement_needs_two_vectors(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        agreement(np.ones(a), np.ones(b))


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_counts_pairs(levels: int) -> None:
    a, b = RNG.integers(0, levels, 40) + levels // 3, RNG.integers(0, levels, 30)
    wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b]
    assert auroc(a, b) == pytest.approx(np.mean(wins))
    assert auroc(b, a) == pytest.approx(1 - np.mean(wins))


def test_auroc_of_separated_and_equal_sets() -> None:
    assert auroc([2, 3], [0, 1]) == 1
    assert auroc([0], [1, 2]) == 0
    assert auroc([1, 1], [1]) == 0.5


@pytest.mark.parametrize("k", [1, 3, 100])
def test_knn_distance_is_the_kth(k: int) -> None:
    fit, query = RNG.standard_normal((40, 5)), RNG.standard_normal((7, 5))
    exact = np.sort(cdist(query, fit), axis=1)[:, min(k, 40) - 1]
    np.testing.assert_allclose(knn_distance(fit, query, k), exact)


def test_mahalanobis_is_scipys_when_there_is_enough_data() -> None:
    mix = RNG.standard_normal((3, 3))
    fit, query = RNG.standard_normal((20_000, 3)) @ mix + 5, RNG.standard_normal((9, 3)) @ mix
    inverse = np.linalg.inv(np.cov(fit.T))
    exact = [scipy_mahalanobis(q, fit.mean(0), inverse) for q in query]
    np.testing.assert_allclose(mahalanobis(fit, query), exact, rtol=0.02)
    assert mahalanobis(fit, fit.mean(0)[None])[0] == pytest.approx(0, abs=1e-6)


def test_mahalanobis_stands_fewer_samples_than_dimensions() -> None:
    fit = RNG.standard_normal((10, 30))
    near, far = mahalanobis(fit, np.stack([fit.mean(0), fit.mean(0) + 10]))
    assert near < far < np.inf


def images(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    flat = np.zeros(shape)
    flat[..., 0] = 1
    return flat, RNG.uniform(0, 1, shape)


@pytest.mark.parametrize("shape", [(16, 16, 1), (16, 16, 3), (16, 16, 2), (256,)])
def test_noise_compresses_less_than_what_is_flat(shape: tuple[int, ...]) -> None:
    flat, noise = images(*shape)
    sizes = compressed_size(np.stack([flat, noise, flat]))
    assert sizes.shape == (3,)
    assert sizes[0] == sizes[2]
    assert sizes[1] > 1.5 * sizes[0]


def test_detectors_compress_all_sets_on_one_scale() -> None:
    """A sample has the same size, whatever else is in its set."""
    flat, noise = images(16, 16, 1)
    x = np.stack([flat, noise] * 10)
    detect = Detectors(x, RNG.standard_normal((20, 3)))
    alone, beside = (
        detect(xs, np.zeros((len(xs), 3)))["compressed size"] for xs in (x[1:2], np.stack([noise, 9 * noise]))
    )
    assert alone[0] == beside[0]


def test_compressed_size_of_one_value() -> None:
    assert (compressed_size(np.full((2, 8, 8, 1), 0.5)) > 0).all()


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_counts_equal_directions(rank: int) -> None:
    q = np.linalg.qr(RNG.standard_normal((50, 6)))[0]
    z = q[:, :rank] @ np.linalg.qr(RNG.standard_normal((6, 6)))[0][:rank]
    assert float(effective_rank(jnp.asarray(z, jnp.float32))) == pytest.approx(rank, abs=1e-3)


def test_effective_rank_is_the_exponential_of_the_entropy() -> None:
    sigma = np.array([4.0, 2.0, 1.0])
    z = np.linalg.qr(RNG.standard_normal((20, 3)))[0] * sigma
    assert float(effective_rank(jnp.asarray(z, jnp.float32))) == pytest.approx(
        np.exp(stats.entropy(sigma / sigma.sum())), rel=1e-4
    )
    assert float(effective_rank(jnp.ones((20, 3)))) == pytest.approx(1, abs=1e-3)  # one point, not at the origin


@pytest.mark.parametrize(("law", "radius"), [("normal", 2.0), (None, 2.0), ("sphere", 1.0)])
def test_moments_of_the_law_itself(law: str | None, radius: float) -> None:
    z = jnp.concatenate([radius * jnp.eye(4), -radius * jnp.eye(4)])  # covariance radius^2 / 4
    m = moments(z, law)
    np.testing.assert_allclose(m[:3], (radius, 0, 0), atol=1e-6)
    assert float(m.effective_rank) == pytest.approx(4, abs=1e-3)
    moved = moments(z + jnp.array([[3.0, 4.0, 0.0, 0.0]]), law)
    np.testing.assert_allclose(moved[:3], (radius, 5, 0), atol=1e-5)
    twice = moments(2 * z, law)
    np.testing.assert_allclose(twice[:3], (2 * radius, 0, 3), atol=1e-5)


def test_folds_are_seen() -> None:
    x = jnp.asarray(RNG.uniform(-1, 1, (400, 2)), jnp.float32)
    turn = jnp.asarray(np.linalg.qr(RNG.standard_normal((2, 2)))[0], jnp.float32)
    assert float(fold_fraction(x, x @ turn)) < 0.01
    assert float(fold_fraction(x, jnp.abs(x))) > 0.5  # three times in four the neighbour is a mirror image
    assert float(fold_fraction(x, jnp.concatenate([jnp.abs(x), 10 * x], axis=1))) < 0.01
    image = x[:, None, :, None]
    assert float(fold_fraction(image, x)) == float(fold_fraction(x, x))
    assert isinstance(fold_fraction(x, x), jax.Array)


HEALTHY: dict[str, Any] = {
    "spread": 1.0, "effective_rank": 12.0, "folded": 0.02, "size": 2, "dim": 16, "output": "sphere", "base": "sphere",
    "agreement": 0.95, "rows": 1000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "verdict", "says"),
    [
        ({}, "healthy", "12.0 effective"),
        ({"spread": 0.01}, "collapsed", "`objective.weight`"),
        ({"spread": 0.06}, "healthy", ""),
        ({"spread": 0.06, "output": "free", "base": "normal"}, "collapsed", "4 when healthy"),
        ({"spread": float("nan")}, "collapsed", "`optim.lr`"),
        ({"spread": float("inf")}, "collapsed", "not finite"),
        ({"partner_spread": 0.01}, "collapsed", "all targets .* `recipe.ema`"),
        ({"partner_spread": float("nan")}, "collapsed", "all targets"),
        ({"partner_spread": 0.06}, "healthy", ""),
        ({"effective_rank": 1.4}, "low-rank", "1.4 of its 16"),
        ({"effective_rank": 1.6}, "healthy", ""),
        ({"effective_rank": 3.9, "size": 256}, "low-rank", "losing"),
        ({"effective_rank": 4.1, "size": 256}, "healthy", ""),
        ({"folded": 0.3, "dim": 4, "effective_rank": 3.0}, "folding", "30% .* `encoder.dim`"),
        ({"folded": 0.3, "dim": 2, "output": "free", "base": "normal", "spread": 1.4}, "folding", "`encoder.skip`"),
        ({"spread": 0.01, "effective_rank": 1.0, "folded": 0.9}, "collapsed", ""),
        ({"effective_rank": 1.0, "folded": 0.9}, "low-rank", ""),
        ({"effective_rank": 1.0, "folded": 0.9, "injective": True, "agreement": None}, "injective", "not trained on"),
        ({"effective_rank": 1.0, "folded": 0.9, "injective": True}, "healthy", "^((?!folded).)*$"),
        ({"injective": True, "agreement": 0.3}, "disagrees", "triangular"),
        ({"agreement": 0.6}, "disagrees", "0.60"),
        ({"agreement": -0.57}, "disagrees", "-0.57"),
        ({"agreement": float("nan")}, "disagrees", ""),
        ({"agreement": None}, "unchecked", "nothing here says"),
        ({"least_column": 0.001}, "ignores-column", "0.1%"),
        ({"least_column": 0.001, "injective": True}, "ignores-column", ""),
        ({"folded": 0.3, "dim": 40, "size": 10}, "folding", "^((?!encoder.dim).)*$"),
        ({"spread": 0.01, "injective": True}, "collapsed", ""),
        ({"rows": 9}, "few-rows", "9 samples are too few"),
        ({"rows": 9, "spread": 0.01}, "collapsed", ""),
        ({"folded": None, "agreement": None, "size": 3072, "effective_rank": 3.0}, "low-rank", "losing"),
        ({"folded": None, "agreement": None}, "unchecked", "^((?!folded).)*$"),
        ({"agreement": 0.3, "size": 3072, "folded": None, "dim": 40}, "disagrees", "^((?!triangular).)*$"),
        ({"agreement": 0.3}, "disagrees", "; lower `data.noise`, train longer, or use"),
        ({"agreement": 0.3, "noise": False}, "disagrees", "; train longer or use `encoder.kind`"),
        ({"effective_rank": 1.4}, "low-rank", "raise `objective.weight` or lower `data.noise`$"),
        ({"effective_rank": 1.4, "noise": False}, "low-rank", "raise `objective.weight`$"),
    ],
)
def test_verdicts(changed: dict[str, Any], verdict: str, says: str) -> None:
    health = diagnose(**{**HEALTHY, **changed})
    assert health.verdict == verdict
    assert re.search(says, health.sentence)
    assert "\n" not in health.sentence
