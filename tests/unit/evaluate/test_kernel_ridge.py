"""Kernel ridge regression: what leaving a sample out gives, and what the intervals contain."""

import numpy as np
import pytest

from jepa_jax.evaluate import COVERAGE, KernelRidge, kernel_ridge


def bent(count: int, seed: int, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 5)) * [1, 3, 0.1, 1, 1]
    return x, np.sin(x[:, 0]) + x[:, 1] ** 2 / 9 + noise * rng.standard_normal(count)


def without(fit: KernelRidge, x: np.ndarray, i: int, query: np.ndarray) -> np.ndarray:
    """Predictions of a fit to all but sample i, with the same kernel and penalty and a free constant."""
    # The inverse has the penalty's along the constant vector, which the centred kernel lacks.
    penalty, rest = 1 / np.linalg.eigvalsh(fit.centred)[-1], np.arange(len(x)) != i

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = ((v - fit.mean) @ fit.map for v in (a, b))
        return a @ b.T if fit.width is None else np.exp(-((a[:, None] - b) ** 2).sum(-1) / fit.width)

    inner, ones = kernel(x[rest], x[rest]), np.ones((rest.sum(), 1))
    system = np.block([[inner + penalty * np.eye(rest.sum()), ones], [ones.T, np.zeros((1, 1))]])
    solved = np.linalg.solve(system, np.append(fit.numbers[rest], 0))
    return kernel(query, x[rest]) @ solved[:-1] + solved[-1]


@pytest.mark.parametrize("kind", ["bent", "line"])
def test_leaving_a_sample_out_is_fitting_without_it(kind: str) -> None:
    x, y = bent(40, 0)
    if kind == "line":
        y = x @ [1.0, -2, 0, 0.5, 0] + 1e-3 * y
    fit = kernel_ridge(x, y)
    assert (fit.width is None) == (kind == "line")
    for i in (0, 7, 39):
        assert fit.left_out[i] == pytest.approx(without(fit, x, i, x[i : i + 1])[0], abs=1e-6)


def test_new_numbers_are_predicted_within_the_stated_error_and_bands() -> None:
    x, y = bent(300, 1)
    fit = kernel_ridge(x[:200], y[:200])
    x, y = bent(4000, 2)
    found = fit.predict(x)
    error = np.sqrt(np.mean((found.value - y) ** 2))
    assert error == pytest.approx(fit.error, rel=0.15)
    assert error < 0.45 * y.std()
    inside = (found.low <= y) & (y <= found.high)
    assert abs(inside.mean() - COVERAGE) < 0.05
    assert (found.low < found.value).all()


def test_bands_by_refitting() -> None:
    """The jackknife+ of a fit whose kernel does not change when a sample leaves."""
    x, y = bent(30, 3)
    fit, new = kernel_ridge(x, y), bent(3, 4)[0]
    off, found = np.abs(y - fit.left_out), fit.predict(new)
    ends = [without(fit, x, i, new) for i in range(30)]
    highest, lowest = (np.sort(np.array(ends) + sign * off[:, None], axis=0) for sign in (1, -1))
    place = int(np.ceil(COVERAGE * 31)) - 1
    np.testing.assert_allclose(found.high, highest[place], atol=1e-6)
    np.testing.assert_allclose(found.low, lowest[29 - place], atol=1e-6)


def test_what_is_not_finite() -> None:
    x, y = bent(40, 5)
    fit = kernel_ridge(x, y)
    x[3, 1] = np.nan
    found = fit.predict(x)
    assert [np.flatnonzero(np.isnan(a)).tolist() for a in found] == [[3]] * 3
    assert [len(a) for a in fit.predict(x[:0])] == [0, 0, 0]
    with pytest.raises(ValueError, match="finite"):
        kernel_ridge(x, y)


def test_what_is_said_in_directions_of_little_variance_is_read() -> None:
    rng = np.random.default_rng(6)
    hidden = rng.standard_normal((600, 8)) * np.geomspace(1, 1e-3, 8)
    mixed = hidden @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    y = np.sin(1e3 * hidden[:, -1]) + 0.05 * rng.standard_normal(600)
    fit = kernel_ridge(mixed[:300], y[:300])
    assert np.sqrt(np.mean((fit.predict(mixed[300:]).value - y[300:]) ** 2)) < 0.5 * y.std()


def test_more_features_than_samples() -> None:
    """The stated error is right where whitening all directions would make every sample as far from each other."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((400, 120)) * np.geomspace(1, 0.05, 120)
    y = x[:, 0] + x[:, 1] + 0.3 * rng.standard_normal(400)
    fit = kernel_ridge(x[:80], y[:80])
    error = np.sqrt(np.mean((fit.predict(x[80:]).value - y[80:]) ** 2))
    assert error == pytest.approx(fit.error, rel=0.3)
    assert error < y.std()
