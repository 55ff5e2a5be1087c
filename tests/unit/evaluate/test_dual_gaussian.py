"""Mahalanobis distances from products of samples against those from the covariance of features."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from jepa_jax.evaluate import Detectors, auroc, mahalanobis
from jepa_jax.evaluate.dual_gaussian import DualGaussian

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("count", "size"), [(2, 5), (5, 40), (30, 31), (20, 300)])
def test_both_forms_agree(count: int, size: int) -> None:
    rows = RNG.standard_normal((count, size)) @ RNG.standard_normal((size, size)) + 3
    query = RNG.standard_normal((7, size))
    expected = LedoitWolf().fit(rows).mahalanobis(query)
    np.testing.assert_allclose(DualGaussian(rows).mahalanobis(query), expected, rtol=1e-8)
    np.testing.assert_allclose(mahalanobis(rows, query), np.sqrt(expected), rtol=1e-8)


def test_images_of_a_usual_size_fit_in_memory() -> None:
    rows = RNG.standard_normal((6, 224 * 224 * 3), np.float32)
    assert np.isfinite(mahalanobis(rows, rows[:2])).all()


def test_equal_samples_have_no_distance() -> None:
    assert (mahalanobis(np.ones((3, 5)), np.ones((2, 5))) == 0).all()


def test_a_detector_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def short_of_memory(self: object, query: np.ndarray) -> np.ndarray:
        raise MemoryError("169 GiB")

    monkeypatch.setattr(DualGaussian, "mahalanobis", short_of_memory)
    x, z = RNG.standard_normal((8, 20)), RNG.standard_normal((8, 2))
    detectors = Detectors(x, z)
    found = detectors(x, z)
    assert detectors.failures == {"Mahalanobis, input": "169 GiB"}
    assert np.isnan(found.pop("Mahalanobis, input")).all()
    assert all(np.isfinite(values).all() for values in found.values())
    assert np.isnan(auroc([], [1.0]))
