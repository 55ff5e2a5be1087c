"""Deep linear networks follow their differential equations, and their score is what the equations say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.worlds.linear import COEFFICIENTS, COVARIANCES, DIM
from train.config_files import find_config


@pytest.mark.parametrize(("name", "bound"), [("linear_jepa", 0.02), ("linear_mae", 0.04)])
def test_training_follows_the_equation(name: str, bound: float) -> None:
    """Littwin et al., arXiv 2407.03475; the bounds are wider than those of the benchmark, as the batch is smaller."""
    config = find_config(name)[1]
    encoder = cfg.Linear(depth=2, start=0.4)
    config = dataclasses.replace(
        config, steps=600, encoder=encoder, data=dataclasses.replace(config.data, batch_size=1024)
    )
    looks: list[tuple[int, np.ndarray, float]] = []
    zero = jnp.zeros(DIM)

    def look(step: int, metrics: dict[str, float], encoder: jepa_jax.Encoder) -> None:
        looks.append((step, np.asarray(jax.jacfwd(encoder)(zero)), float(jepa_jax.jepa_score(encoder, zero))))

    jepa_jax.fit(config, callback=look, every=100)
    time = np.array([step for step, *_ in looks]) * config.optim.lr
    depth, distilled = 2, name == "linear_jepa"

    def slope(_: float, u: np.ndarray) -> np.ndarray:
        if distilled:
            return COVARIANCES * u ** (2 * depth) * (1 - u / COEFFICIENTS)
        return COVARIANCES * u**depth * (1 - u ** (depth + 1) / COEFFICIENTS)

    exact = solve_ivp(slope, (0, time[-1]), np.full(DIM, 0.4), t_eval=time, rtol=1e-10, atol=1e-12).y.T ** depth
    found = np.stack([np.diag(jacobian) for _, jacobian, _ in looks])
    assert np.abs(found / exact - 1).max() < bound
    for _, jacobian, score in looks:
        w = np.linalg.svd(jacobian.astype(np.float64), compute_uv=False)
        assert score == pytest.approx(np.log(w).sum(), abs=1e-4)
