"""Worlds drawn by a seed: densities that integrate to 1 and belong to the samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jepa_jax.worlds import random

SEEDS = (42, 1, 2, 3, 4, 17)  # one of each kind, in few dimensions


@pytest.mark.parametrize("seed", SEEDS)
def test_density_is_that_of_the_samples(seed: int) -> None:
    """The mean of q(x) / p(x) over samples of p is the integral of q, 1, for any density q inside the support."""
    world = random.make(seed)
    x, _ = world.sample(jax.random.key(seed), 40_000)
    logs = np.asarray(jax.lax.map(world.log_density, x), np.float64)
    assert np.isfinite(logs).all()
    assert world.name == f"random_{seed}"
    again = random.make(seed).sample(jax.random.key(seed), 40_000)[0]
    assert (np.asarray(x) == np.asarray(again)).all()
    # q: a Gaussian around a sample of high density, half as wide as its nearest samples are spread.
    units = np.asarray(x).std(0)
    standard = np.asarray(x, np.float64) / units
    centre = standard[np.argsort(logs)[-len(logs) // 4]]
    near = standard[np.argsort(((standard - centre) ** 2).sum(1))[:1000]]
    q = stats.multivariate_normal(near.mean(0), 0.25 * np.cov(near.T))
    ratio = np.exp(q.logpdf(standard) - np.log(units).sum() - logs)
    error = ratio.std() / len(ratio) ** 0.5
    assert error < 0.3, error
    assert ratio.mean() == pytest.approx(1, abs=max(0.05, 5 * error))


def test_kinds_and_dimensions() -> None:
    worlds = [random.make(seed) for seed in range(12)]
    assert {random.kind(seed) for seed in range(12)} == set(random.KINDS)
    assert all(2 <= world.shape[0] <= 16 for world in worlds)
    x = jnp.concatenate([jnp.std(world.sample(jax.random.key(0), 100)[0], axis=0) for world in worlds])
    assert x.max() > 1e3 * x.min()
