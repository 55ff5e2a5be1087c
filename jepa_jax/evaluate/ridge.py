"""Numbers read from a frozen embedding by ridge regression."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

PENALTIES = np.logspace(-3, 4, 15)  # of the coefficients of standardised embeddings


def ridge_r2(train_z: ArrayLike, train_y: ArrayLike, test_z: ArrayLike, test_y: ArrayLike) -> float:
    """Return the share of variance of numbers that ridge regression on an embedding explains, R^2.

    The penalty is chosen by leave-one-out errors within the training samples.

    Args:
      train_z: Training embeddings [N, K].
      train_y: Training numbers [N] or [N, T].
      test_z: Test embeddings [M, K].
      test_y: Test numbers [M] or [M, T].

    Returns:
      R^2, the mean over the T numbers: 1 for all, 0 for what their mean explains, less for worse; NaN if an embedding
      is not finite.
    """
    fit = ridge(train_z, train_y)
    query, wanted = np.asarray(test_z, np.float64), np.asarray(test_y, np.float64).reshape(len(np.asarray(test_y)), -1)
    if fit is None or not np.isfinite(query).all():
        return float("nan")
    off = ((fit(query) - wanted) ** 2).mean(axis=0)
    return float(np.mean(1 - off / np.maximum(wanted.var(axis=0), np.finfo(float).tiny)))


def ridge(train_z: ArrayLike, train_y: ArrayLike) -> Callable[[ArrayLike], np.ndarray] | None:
    """Fit ridge regression and return the function from embeddings [M, K] to numbers [M, T].

    None if an embedding is not finite.
    """
    z, y = np.asarray(train_z, np.float64), np.asarray(train_y, np.float64)
    y = y.reshape(len(y), -1)
    if not np.isfinite(z).all():
        return None
    mean, scale, offset = z.mean(axis=0), z.std(axis=0), y.mean(axis=0)
    scale[scale == 0] = 1
    # Leave-one-out errors of all penalties from one decomposition (Allen 1974, PRESS).
    u, s, vt = np.linalg.svd((z - mean) / scale, full_matrices=False)
    projected, least, weight = u.T @ (y - offset), np.inf, np.zeros((z.shape[1], y.shape[1]))
    for penalty in PENALTIES:
        shrink = s**2 / (s**2 + penalty)
        leverage = 1 / len(z) + (u**2) @ shrink
        off = (y - offset - u @ (shrink[:, None] * projected)) / np.maximum(1 - leverage, 1e-9)[:, None]
        if (error := float((off**2).mean())) < least:
            least, weight = error, vt.T @ ((s / (s**2 + penalty))[:, None] * projected)
    return lambda q: offset + ((np.asarray(q, np.float64) - mean) / scale) @ weight
