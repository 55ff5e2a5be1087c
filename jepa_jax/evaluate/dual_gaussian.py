"""Mahalanobis distances in many dimensions, from the products of samples instead of the covariance of features."""

from collections.abc import Iterator

import numpy as np

COLUMNS = 8192  # features that are converted to float64 at once


class DualGaussian:
    """Gaussian of N samples with F > N features, whose covariance [F, F] is never formed.

    The covariance S is shrunk to (1 - s) S + s mu I by the method of Ledoit & Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", J. Multivariate Analysis 88 (2004), as scikit-learn's LedoitWolf does. All
    that it needs of S is in the products of samples [N, N].
    """

    def __init__(self, rows: np.ndarray) -> None:
        """Fit samples [N, F]."""
        self._rows = rows
        self._mean = np.concatenate([block.mean(axis=0) for block in _blocks(rows)])
        products = self._products(rows)
        count, size = rows.shape
        trace, squares = np.trace(products) / count, float(np.sum(products**2)) / count**2
        mu = trace / size
        beta = (float(np.sum(np.diag(products) ** 2)) / count - squares) / (size * count)
        delta = (squares - 2 * mu * trace + size * mu**2) / size
        shrinkage = 0.0 if beta <= 0 else min(beta, delta) / delta
        values, vectors = np.linalg.eigh(products)
        kept = values > values[-1] * count * np.finfo(float).eps if values[-1] > 0 else np.zeros(count, bool)
        self._axes = vectors[:, kept] / np.sqrt(values[kept])  # [N, R]; rows' axes is an orthonormal basis of features
        self._variance = (1 - shrinkage) * values[kept] / count + shrinkage * mu
        self._rest = shrinkage * mu  # variance in all other directions

    def mahalanobis(self, query: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distances [M] of queries [M, F]."""
        along = self._products(query) @ self._axes
        squares = np.zeros(len(query))
        for block, mean in zip(_blocks(query), _blocks(self._mean[None]), strict=True):
            squares += ((block - mean) ** 2).sum(axis=1)
        inside = (along**2 / self._variance).sum(axis=1)
        if not self._rest:  # as with a pseudo-inverse
            return inside
        return inside + np.maximum(squares - (along**2).sum(axis=1), 0) / self._rest

    def _products(self, query: np.ndarray) -> np.ndarray:
        """Return the products [M, N] of centred queries and centred samples."""
        found = np.zeros((len(query), len(self._rows)))
        for some, known, mean in zip(_blocks(query), _blocks(self._rows), _blocks(self._mean[None]), strict=True):
            found += (some - mean) @ (known - mean).T
        return found


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield some features of all rows at a time, in float64."""
    for start in range(0, rows.shape[1], COLUMNS):
        yield rows[:, start : start + COLUMNS].astype(np.float64)
