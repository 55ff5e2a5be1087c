"""The measured law of embeddings, against laws that are known."""

import numpy as np
import pytest
from scipy import stats

from jepa_jax.evaluate import MeasuredLaw


@pytest.mark.parametrize("kind", ["knn", "kde"])
def test_the_law_on_a_circle_is_its_density_along_the_circle(kind) -> None:
    rng = np.random.default_rng(0)
    turns = stats.vonmises(0.8).rvs(10_000, random_state=rng)
    fresh = stats.vonmises(0.8).rvs(500, random_state=rng)
    on_circle = lambda t: np.stack([np.cos(t), np.sin(t)], axis=1)  # noqa: E731
    found = MeasuredLaw(kind, on_circle(turns), 1)(on_circle(fresh))
    exact = stats.vonmises(0.8).logpdf(fresh)
    assert abs(np.mean(found - exact)) < 0.03
    assert np.corrcoef(found, exact)[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["knn", "kde"])
def test_the_law_in_the_plane(kind) -> None:
    rng = np.random.default_rng(1)
    z, fresh = rng.standard_normal((10_000, 2)), rng.standard_normal((1000, 2))
    found = MeasuredLaw(kind, z, 2)(fresh)
    exact = stats.multivariate_normal(np.zeros(2)).logpdf(fresh)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.3  # bias in the tails


@pytest.mark.parametrize("kind", ["knn", "kde"])
def test_a_known_embedding_does_not_count_itself(kind) -> None:
    rng = np.random.default_rng(2)
    z, fresh = rng.standard_normal((2000, 5)), rng.standard_normal((2000, 5))
    law = MeasuredLaw(kind, z, 5)
    assert abs(law(z).mean() - law(fresh).mean()) < 0.1
    moved = law(z.astype(np.float32) * (1 + 1e-7))  # another batch rounds in another way
    np.testing.assert_allclose(moved, law(z), atol=1e-3)


def test_what_is_not_finite_has_no_density_and_copies_have_a_large_one() -> None:
    z = np.concatenate([np.random.default_rng(3).standard_normal((100, 2)), np.ones((40, 2))])
    found = MeasuredLaw("knn", z, 2)(np.array([[np.nan, 0], [1, 1], [0, 0]]))
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()
    assert found[1] > found[2] + 20


def test_too_few_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 30"):
        MeasuredLaw("knn", np.zeros((30, 2)), 2)
