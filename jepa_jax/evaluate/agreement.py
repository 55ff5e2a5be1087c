"""Agreement of a learned log-density with the exact one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEAST_SAMPLES = 10  # below which chance alone makes two log-densities agree or disagree


class Agreement(NamedTuple):
    """Agreement of two log-densities.

    Attributes:
      spearman: Rank correlation.
      pearson: Linear correlation.
      slope: Least-squares slope of learned against true; 1 is calibrated.
    """

    spearman: float
    pearson: float
    slope: float


def agreement(learned: ArrayLike, true: ArrayLike) -> Agreement:
    """Compare two log-densities of the same samples.

    Args:
      learned: Learned log-density [N] in nats, up to a constant.
      true: Exact log-density [N] in nats, up to a constant.

    Returns:
      The agreement. All fields are NaN if either log-density is constant, since a constant has no ranks, or not finite,
      or if there are fewer than `LEAST_SAMPLES`, which support no statement.

    Raises:
      ValueError: If the lengths differ, or there are fewer than 2 samples.
    """
    a, b = np.asarray(learned, np.float64), np.asarray(true, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"agreement needs two equally long vectors, not {a.shape} and {b.shape}")
    # Rounding noise on a constant is no ranking: float32 log-densities have an error of about 1e-6 of their size.
    floor = 1e-5 * (1 + np.abs(a).mean())
    if len(a) < LEAST_SAMPLES:
        return Agreement(np.nan, np.nan, np.nan)
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or a.std() < floor or b.std() == 0:
        return Agreement(np.nan, np.nan, np.nan)
    covariance = np.cov(a, b)
    return Agreement(
        float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]),
        float(np.corrcoef(a, b)[0, 1]),
        float(covariance[0, 1] / covariance[1, 1]),
    )
