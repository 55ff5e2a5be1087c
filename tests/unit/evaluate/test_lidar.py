"""LiDAR against its definition in NumPy, and cases with a known rank."""

import numpy as np
import pytest
from scipy.linalg import eigvalsh, inv, sqrtm

from jepa_jax.evaluate import lidar

RNG = np.random.default_rng(4)


def reference(z: np.ndarray) -> float:
    n, q, dim = z.shape
    means = z.mean(1)
    between = np.cov(means.T, bias=True)
    within = sum(np.outer(d, d) for d in (z - means[:, None]).reshape(-1, dim)) / (n * (q - 1)) + 1e-4 * np.eye(dim)
    root = inv(np.real(sqrtm(within)))
    p = np.maximum(eigvalsh(root @ between @ root), 0)
    p = p / p.sum()
    return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))


def test_it_is_the_papers() -> None:
    z = RNG.standard_normal((50, 1, 6)) * np.linspace(0.2, 2, 6) + 0.3 * RNG.standard_normal((50, 4, 6))
    assert float(lidar(z.astype(np.float32))) == pytest.approx(reference(z), rel=1e-3)


def test_directions_in_which_only_views_differ_do_not_count() -> None:
    """RankMe would count all six directions."""
    signal = np.zeros((400, 1, 6))
    signal[..., :2] = RNG.standard_normal((400, 1, 2))
    z = signal + RNG.standard_normal((400, 8, 6)) * np.r_[0.02, 0.02, [1.0] * 4]
    assert 1.8 < float(lidar(z.astype(np.float32))) < 2.2
