"""Kernel ridge regression with leave-one-out errors in closed form, and intervals by the jackknife+."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Widths of the Gaussian kernel, as multiples of the median squared distance; None is the linear kernel.
WIDTHS = (1.0, 4.0, 16.0, None)
# Multiples of the largest eigenvalue of the kernel matrix. With far smaller ones, leave-one-out errors are rounding.
PENALTIES = np.logspace(-6, 1, 22)
SMALLEST_VARIANCE = 1e-10  # share of the largest one, below which a direction is the rounding of float32
SAMPLES_PER_DIRECTION = 5  # of those that are whitened
COVERAGE = 0.9  # share of new numbers that the intervals shall contain
CHUNK_NUMBERS = 2 * 10**7  # entries of the largest matrix while predicting: 160 MB


class Predictions(NamedTuple):
    """Predicted numbers with intervals.

    Attributes:
      value: Predictions [M].
      low: Lower ends of the intervals [M].
      high: Upper ends [M].
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class KernelRidge(NamedTuple):
    """Fit of N numbers to their features; `predict` is the function.

    Attributes:
      known: Features [N, F], standardised or whitened.
      mean: Mean of each feature [F].
      map: Linear map to standardised or whitened features [F, F].
      width: Width of the Gaussian kernel in squared distance, or None for the linear kernel.
      offsets: Means of the columns of the kernel matrix [N].
      centred: Inverse of the centred and penalised kernel matrix [N, N].
      numbers: The numbers [N].
      left_out: Prediction of each number from a fit without it [N].
    """

    known: np.ndarray
    mean: np.ndarray
    map: np.ndarray
    width: float | None
    offsets: np.ndarray
    centred: np.ndarray
    numbers: np.ndarray
    left_out: np.ndarray

    @property
    def error(self) -> float:
        """Root mean square of the leave-one-out errors."""
        return float(np.sqrt(np.mean((self.numbers - self.left_out) ** 2)))

    def predict(self, features: ArrayLike) -> Predictions:
        """Predict numbers from features [M, F], with an interval for each.

        An interval is that of the jackknife+ (Barber, Candes, Ramdas and Tibshirani 2021): of exchangeable samples, it
        contains the number of a new one with a probability of at least 2 COVERAGE - 1, and of COVERAGE where the fit is
        stable. Features that are not finite give NaN.
        """
        x = np.asarray(features, np.float64)
        rows = max(1, CHUNK_NUMBERS // len(self.known))
        parts = [self._predict(x[start : start + rows]) for start in range(0, len(x), rows)]
        return Predictions(*map(np.concatenate, zip(*parts, strict=True))) if parts else Predictions(*[np.zeros(0)] * 3)

    def _predict(self, x: np.ndarray) -> Predictions:
        finite = np.asarray(np.isfinite(x).all(axis=1))
        k = _kernel((np.where(finite[:, None], x, self.mean) - self.mean) @ self.map, self.known, self.width)
        k = k - self.offsets - k.mean(axis=1, keepdims=True) + self.offsets.mean()
        # Row m has the weight of each known number in prediction m. Without number i, the fit is the same as with its
        # own leave-one-out prediction in the place of the number.
        weights = k @ self.centred + 1 / len(self.known)
        off = self.numbers - self.left_out
        value = weights @ self.numbers
        without = value[:, None] - weights * off
        count = len(off)
        last = min(count, int(np.ceil(COVERAGE * (count + 1)))) - 1
        low = np.partition(without - np.abs(off), count - 1 - last, axis=1)[:, count - 1 - last]
        high = np.partition(without + np.abs(off), last, axis=1)[:, last]
        return Predictions(*(np.where(finite, a, np.nan) for a in (value, low, high)))


def kernel_ridge(features: ArrayLike, numbers: ArrayLike) -> KernelRidge:
    """Fit kernel ridge regression with a free constant; leave-one-out errors choose kernel, features and penalty.

    The features are standardised or whitened, whichever is better: what an embedding says may lie in directions of
    little variance. The time grows with N^3: seconds for 1,000 samples, minutes for 5,000.

    Args:
      features: Features [N, F].
      numbers: Numbers [N].

    Raises:
      ValueError: If a feature or a number is not finite.
    """
    x, y = np.asarray(features, np.float64), np.asarray(numbers, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("kernel ridge regression needs finite features and numbers")
    mean, least, best = x.mean(axis=0), np.inf, None
    for linear in (_standardising(x), _whitening(x)):
        known = (x - mean) @ linear
        median = float(np.median(_squared_distances(known, known)[np.triu_indices(len(x), 1)])) or 1.0
        for factor in WIDTHS:
            width = None if factor is None else factor * median
            matrix = _kernel(known, known, width)
            offsets = matrix.mean(axis=0)
            w, u = np.linalg.eigh(matrix - offsets - offsets[:, None] + offsets.mean())
            w, projected = np.maximum(w, 0), u.T @ (y - y.mean())
            for penalty in PENALTIES * max(float(w[-1]), np.finfo(float).tiny):
                shrink = w / (w + penalty)
                leverage = 1 / len(y) + u**2 @ shrink
                # Leave-one-out residuals without a second fit (Allen 1974, PRESS).
                off = (y - y.mean() - u @ (shrink * projected)) / np.maximum(1 - leverage, 1e-9)
                if (error := float((off**2).sum())) < least:
                    least, best = error, (known, linear, width, offsets, u, w + penalty, y - off)
    assert best is not None
    known, linear, width, offsets, u, divisor, left_out = best
    return KernelRidge(known, mean, linear, width, offsets, (u / divisor) @ u.T, y, left_out)


def _standardising(x: np.ndarray) -> np.ndarray:
    """Return the map [F, F] that gives each feature the same variance."""
    deviation = x.std(axis=0)
    return np.diag(1 / np.where(deviation > 0, deviation, 1))


def _whitening(x: np.ndarray) -> np.ndarray:
    """Return the map [F, F] that gives each direction the same variance, of those with enough samples and variance."""
    standard = _standardising(x)
    variance, directions = np.linalg.eigh(np.cov((x @ standard).T).reshape(len(standard), -1))
    enough = variance[-min(len(variance), max(1, len(x) // SAMPLES_PER_DIRECTION))]
    floor = max(float(enough), SMALLEST_VARIANCE * float(variance[-1]), np.finfo(float).tiny)
    return standard @ directions / np.sqrt(np.maximum(variance, floor))


def _kernel(a: np.ndarray, b: np.ndarray, width: float | None) -> np.ndarray:
    return a @ b.T if width is None else np.exp(-_squared_distances(a, b) / width)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0)
