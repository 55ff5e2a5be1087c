"""Agreement of a learned log-density with the exact one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Agreement(NamedTuple):
    """Rank correlation, linear correlation, and the least-squares slope of learned against true (1 is calibrated)."""

    spearman: float
    pearson: float
    slope: float


def agreement(learned: ArrayLike, true: ArrayLike) -> Agreement:
    """Compare two log-densities on the same samples.

    Args:
      learned, true: [N] in nats, each up to a constant.

    Returns:
      NaN in every field where one of them is constant: a constant agrees with nothing.

    Raises:
      ValueError: the lengths differ, or there are fewer than 2 samples.
    """
    a, b = np.asarray(learned, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"agreement takes two equally long vectors, not {a.shape} and {b.shape}")
    # Rounding noise on a constant is not a ranking: float32 log-densities carry about 1e-6 of their size.
    floor = 1e-5 * (1 + np.abs(a).mean())
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or a.std() < floor or b.std() == 0:
        return Agreement(np.nan, np.nan, np.nan)
    covariance = np.cov(a, b)
    return Agreement(
        float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]),
        float(np.corrcoef(a, b)[0, 1]),
        float(covariance[0, 1] / covariance[1, 1]),
    )
