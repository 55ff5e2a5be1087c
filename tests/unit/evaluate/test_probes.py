"""Probes of a frozen embedding against scikit-learn and cases with a known answer."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from jepa_jax.evaluate import knn_accuracy, linear_probe, pca
from jepa_jax.evaluate.probes import CHUNK_SAMPLES

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """The same random numbers for a test, whichever ran before it."""
    RNG.bit_generator.state = START


PROBES = [knn_accuracy, linear_probe]
Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def split(z: np.ndarray, y: np.ndarray, n: int) -> Split:
    order = np.random.default_rng(0).permutation(len(z))
    return z[order[:n]], y[order[:n]], z[order[n:]], y[order[n:]]


def blobs(spread: float = 0.3) -> Split:
    z, y = make_blobs(800, centers=np.eye(8)[:5] * 4, cluster_std=spread, random_state=0)
    return split(z.astype(np.float32), y, 500)


def digits() -> Split:
    x, y = load_digits(return_X_y=True)
    return split(np.asarray(x, np.float32) / 16, y, 1000)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("label", [lambda y: y, lambda y: 7 * y - 3, lambda y: np.array(list("abcde"))[y]])
def test_what_is_separable_is_told_apart(probe: Callable[..., float], label: Callable) -> None:
    z, y, other_z, other_y = blobs()
    assert probe(z, label(y), other_z, label(other_y)) == 1


@pytest.mark.parametrize("probe", PROBES)
def test_shuffled_labels_are_told_apart_by_chance(probe: Callable[..., float]) -> None:
    z, y, other_z, other_y = blobs(3.0)
    values = [probe(z, RNG.permutation(y), other_z, RNG.permutation(other_y)) for _ in range(20)]
    assert np.mean(values) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / (20 * len(other_y))))


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotation_and_scale_change_nothing(probe: Callable[..., float], dtype: type) -> None:
    z, y, other_z, other_y = blobs(1.5)
    turn = np.linalg.qr(RNG.standard_normal((8, 8)))[0]
    before = probe(z, y, other_z, other_y)
    assert 0.5 < before < 0.99
    for change in (lambda a: 100 * a, lambda a: 1e-3 * a, lambda a: a @ turn):
        # A standardised probe is penalised along other axes after a rotation: at most a few samples change sides.
        changed = probe(change(z).astype(dtype), y, change(other_z).astype(dtype), other_y)
        assert changed == pytest.approx(before, abs=4 / len(other_y))


def test_duplicates_find_themselves() -> None:
    z, y = RNG.standard_normal((2 * CHUNK_SAMPLES + 7, 16)), RNG.integers(0, 10, 2 * CHUNK_SAMPLES + 7)
    assert knn_accuracy(z, y, 3 * z, y, k=1) == 1
    assert knn_accuracy(z, y, 3 * z, y, k=20, temperature=1e-3) == 1  # the nearest has all the weight
    assert knn_accuracy(z, y, 3 * z, y, k=20, temperature=1e3) < 0.9  # all the same


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1e-4), (5000, 0.07)])
def test_knn_is_scikit_learns(k: int, temperature: float) -> None:
    z, y, other_z, other_y = (a.astype(np.float64) for a in digits())
    z, other_z = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (z, other_z))

    def weights(distance: np.ndarray) -> np.ndarray:  # |a - b|^2 = 2 - 2 cos
        return np.exp((distance.min(axis=1, keepdims=True) ** 2 - distance**2) / 2 / temperature)

    peer = KNeighborsClassifier(min(k, len(z)), weights=weights).fit(z, y)
    assert knn_accuracy(z, y, other_z, other_y, k, temperature) == pytest.approx(peer.score(other_z, other_y))


def test_the_linear_probe_beats_ridge_where_classes_outnumber_directions() -> None:
    x, y, other_x, other_y = digits()
    project = pca(x, 8)
    z, other_z = project(x), project(other_x)
    ridge = RidgeClassifier(alpha=10).fit(z / z.std(axis=0), y)
    found = linear_probe(z, y, other_z, other_y)
    assert found > ridge.score(other_z / z.std(axis=0), other_y) + 0.02
    assert found == linear_probe(z, y, other_z, other_y)


def test_the_linear_probe_is_fast() -> None:
    z, y = RNG.standard_normal((1000, 128)).astype(np.float32), RNG.integers(0, 10, 1000)
    linear_probe(z[:50], y[:50], z, y)  # imports
    started = time.process_time()  # of all threads
    linear_probe(z, y, z, y)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("probe", PROBES)
def test_what_cannot_be_learned_from(probe: Callable[..., float]) -> None:
    z, y, other_z, other_y = blobs()
    assert np.isnan(probe(z, np.zeros_like(y), other_z, other_y))  # one class
    assert 0 < probe(np.ones_like(z), y, np.ones_like(other_z), other_y) < 0.4  # collapsed to a point
    assert 0 < probe(np.zeros_like(z), y, np.zeros_like(other_z), other_y) < 0.4
    assert probe(z, y, other_z, np.full_like(other_y, 99)) == 0  # a class never seen
    assert np.isnan(probe(z, y, np.where(other_z == other_z[3, 2], np.nan, other_z), other_y))
    assert np.isnan(probe(np.where(z == z[3, 2], np.inf, z), y, other_z, other_y))


@pytest.mark.parametrize("probe", PROBES)
def test_shapes_that_do_not_fit_are_refused(probe: Callable[..., float]) -> None:
    z, y, other_z, other_y = blobs()
    for wrong in ((z[1:], y, other_z, other_y), (z, y, other_z[:, 1:], other_y), (z, y, other_z[:0], other_y[:0])):
        with pytest.raises(ValueError, match="a probe takes"):
            probe(*wrong)


@pytest.mark.parametrize("width", [3, 64, 500])
def test_pca_is_linear_and_keeps_the_most_variance(width: int) -> None:
    x, _, other, _ = digits()
    project = pca(x.reshape(-1, 8, 8), width)
    z = project(x)
    assert z.shape == (1000, min(width, 64))
    exact = PCA(min(width, 64), svd_solver="full").fit(x)
    assert z.var(axis=0).sum() == pytest.approx(exact.explained_variance_.sum(), rel=0.002)
    np.testing.assert_allclose(project(other.reshape(-1, 8, 8)), project(other), atol=1e-5)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    if width >= 64:  # nothing is lost: distances stay
        np.testing.assert_allclose(np.linalg.norm(z[0] - z[1]), np.linalg.norm(x[0] - x[1]), rtol=1e-5)


def test_pca_of_many_numbers_is_the_same_twice() -> None:
    x = RNG.standard_normal((600, 600)).astype(np.float32)  # large enough for random projections
    np.testing.assert_array_equal(pca(x, 5)(x), pca(x, 5)(x))
