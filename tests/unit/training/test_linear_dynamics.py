"""Deep linear networks follow their differential equations, and their score is what the equations say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_jax
from benchmarks.family.judges import equation
from jepa_jax import config as cfg
from jepa_jax.worlds.linear import COEFFICIENTS, DIM
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
    exact = equation(2, 0.4, time, distilled=name == "linear_jepa")
    found = np.stack([np.diag(jacobian) for _, jacobian, _ in looks])
    assert np.abs(found / exact - 1).max() < bound
    for _, jacobian, score in looks:
        w = np.linalg.svd(jacobian.astype(np.float64), compute_uv=False)
        assert score == pytest.approx(np.log(w).sum(), abs=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("distilled", [True, False])
def test_the_equation_rests_where_training_does(depth: int, distilled: bool) -> None:
    """The fixed points are rho^L for distillation, and rho^(L / (L + 1)) for reconstruction."""
    limit = COEFFICIENTS**depth if distilled else COEFFICIENTS ** (depth / (depth + 1))
    np.testing.assert_allclose(equation(depth, 0.3, np.array([0.0, 5000.0]), distilled=distilled)[-1], limit, rtol=1e-4)
    np.testing.assert_allclose(equation(depth, 0.3, np.array([0.0, 1.0]), distilled=distilled)[0], 0.3**depth)
