"""Confidence interval of an AUROC."""

import numpy as np
from scipy.optimize import root_scalar

NORMAL_975 = 1.959964  # quantile of N(0, 1) for an interval of 95 %


def auroc_interval(value: float, typical: int, outlying: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of an AUROC, which are apart also where it is 0 or 1.

    The interval is method 5 of Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, part 2", Statistics in Medicine 25 (2006): all values from which the measured one is less than 1.96
    standard errors away, by the variance of Hanley and McNeil.

    Args:
      value: AUROC, in [0, 1]; NaN gives NaN.
      typical: Number of typical samples.
      outlying: Number of outlying samples.
    """
    if np.isnan(value):
        return float("nan"), float("nan")
    half = (typical + outlying) / 2 - 1

    def beyond(true: float) -> float:
        spread = 1 + half * ((1 - true) / (2 - true) + true / (1 + true))
        return (true - value) ** 2 - NORMAL_975**2 * true * (1 - true) * spread / (typical * outlying)

    within = float(np.clip(value, 1e-9, 1 - 1e-9))  # 0 and 1 are solutions themselves if they are the value
    low = 0.0 if value <= 0 else float(root_scalar(beyond, bracket=(0.0, within)).root)
    high = 1.0 if value >= 1 else float(root_scalar(beyond, bracket=(within, 1.0)).root)
    return low, high
