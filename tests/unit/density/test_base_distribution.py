"""Log-densities of the embeddings, and the score with them against exact densities."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jepa_jax.density import (
    base_log_density,
    score_batches,
)
from jepa_jax.worlds import WORLDS


@pytest.mark.parametrize("dim", [1, 4])
def test_normal_law(dim: int) -> None:
    z = np.random.default_rng(0).standard_normal((6, dim))
    exact = stats.multivariate_normal.logpdf(z, np.zeros(dim))
    law = base_log_density(jnp.asarray(z, jnp.float32), "normal")
    assert law is not None
    np.testing.assert_allclose(law, np.reshape(exact, 6), rtol=1e-5)


@pytest.mark.parametrize(("dim", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)])
def test_sphere_law_is_one_over_the_area(dim: int, area: float) -> None:
    law = base_log_density(jnp.zeros((2, dim)), "sphere")
    assert law is not None
    np.testing.assert_allclose(law, [-math.log(area)] * 2, rtol=1e-5)


def test_other_laws() -> None:
    assert base_log_density(jnp.zeros(3), None) is None
    with pytest.raises(ValueError, match="cauchy"):
        base_log_density(jnp.zeros(3), "cauchy")


@pytest.mark.parametrize("name", ["banana", "coupling_2d", "coupling_8d"])
def test_a_map_to_the_normal_law_gives_the_exact_density(name: str, key: jax.Array) -> None:
    world = WORLDS[name]()
    xs, states = world.sample(key, 50)
    inverse = inspect.getclosurevars(inspect.unwrap(world.log_density)).nonlocals["inverse"]
    batch = next(score_batches(lambda x: inverse(x)[0], xs))
    law = base_log_density(batch.embedding, "normal")
    np.testing.assert_allclose(batch.score + law, jax.vmap(world.log_density)(states), atol=2e-4)


def test_an_equal_area_map_to_the_sphere_gives_the_uniform_density() -> None:
    def archimedes(u: jax.Array) -> jax.Array:
        height, angle = 2 * u[0] - 1, 2 * jnp.pi * u[1]
        radius = jnp.sqrt(1 - height**2)
        return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), height])

    xs = jnp.asarray(np.random.default_rng(0).uniform(0.02, 0.98, (50, 2)), jnp.float32)
    batch = next(score_batches(archimedes, xs))
    np.testing.assert_allclose(batch.score + base_log_density(batch.embedding, "sphere"), 0, atol=1e-4)
