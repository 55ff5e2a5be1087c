"""The slice statistics: 1 for samples of the law, growing with N for others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import stats

from jepa_jax.evaluate import slice_statistic, sphere_slice_statistic

REPEATS = 200


def normal(key: Array, n: int, dim: int) -> Array:
    return jax.random.normal(key, (n, dim))


def sphere(key: Array, n: int, dim: int) -> Array:
    z = normal(key, n, dim)
    return z / jnp.linalg.norm(z, axis=1, keepdims=True)


def laplace(key: Array, n: int, dim: int) -> Array:
    return jax.random.laplace(key, (n, dim))


def cube(key: Array, n: int, dim: int) -> Array:
    return jax.random.uniform(key, (n, dim))


def mixture(key: Array, n: int, dim: int) -> Array:
    side = jnp.where(jax.random.bernoulli(key, 0.5, (n, 1)), 3.0, -3.0)
    return normal(jax.random.fold_in(key, 1), n, dim) + side * jnp.eye(1, dim)


def cap(key: Array, n: int, dim: int) -> Array:
    return sphere(key, n, dim) + 0.5 * jnp.eye(1, dim)


def repeat(statistic: Callable[..., Array], draw: Callable[..., Array], key: Array, n: int, dim: int) -> np.ndarray:
    """The statistic of many independent samples, each along its own directions."""

    def one(key: Array) -> Array:
        first, second = jax.random.split(key)
        return statistic(draw(first, n, dim), second, 32)

    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, REPEATS)))


@pytest.mark.parametrize(("n", "dim"), [(16, 8), (256, 1), (256, 3), (64, 1500)])
@pytest.mark.parametrize(("statistic", "draw"), [(slice_statistic, normal), (sphere_slice_statistic, sphere)])
def test_samples_of_the_law_have_one(
    key: Array, statistic: Callable[..., Array], draw: Callable[..., Array], n: int, dim: int
) -> None:
    values = repeat(statistic, draw, key, n, dim)
    error = values.std(ddof=1) / np.sqrt(REPEATS)
    assert error < 0.12  # or the next line would say nothing
    assert values.mean() == pytest.approx(1, abs=4 * error + 0.01)  # a hundredth for small N


@pytest.mark.parametrize(
    ("statistic", "draw"),
    [
        (slice_statistic, laplace),
        (slice_statistic, cube),
        (slice_statistic, mixture),
        (slice_statistic, sphere),
        (sphere_slice_statistic, mixture),
        (sphere_slice_statistic, cap),
    ],
)
def test_others_grow_like_n(key: Array, statistic: Callable[..., Array], draw: Callable[..., Array]) -> None:
    few, many = (float(statistic(draw(key, n, 3), key)) for n in (1000, 4000))
    assert few > 3
    assert 3 < many / few < 5


def test_a_wide_normal_is_normal_but_its_directions_are_not_uniform(key: Array) -> None:
    z = normal(key, 4000, 3) * jnp.array([[1.0, 2.0, 3.0]])
    assert float(slice_statistic(z, key)) < 2
    assert float(sphere_slice_statistic(z, key)) > 20


@pytest.mark.parametrize("draw", [normal, laplace])
@pytest.mark.parametrize(
    ("change", "rtol"),
    [
        (lambda z: 100 * z, 1e-3),
        (lambda z: 1e-3 * z, 1e-3),
        (lambda z: z + 5, 1e-3),
        (lambda z: z @ jnp.linalg.qr(normal(jax.random.key(9), 3, 3))[0], 0.15),  # the directions fall otherwise
    ],
    ids=["larger", "smaller", "shifted", "rotated"],
)
def test_invariance(key: Array, draw: Callable[..., Array], change: Callable[[Array], Array], rtol: float) -> None:
    z = draw(key, 500, 3)
    slices = 2000 if rtol > 0.1 else 64
    np.testing.assert_allclose(slice_statistic(change(z), key, slices), slice_statistic(z, key, slices), rtol)


def test_the_sphere_takes_directions_only(key: Array) -> None:
    z = cap(key, 500, 3)
    lengths = jnp.linspace(0.5, 3, 500)[:, None]
    np.testing.assert_allclose(sphere_slice_statistic(lengths * z, key), sphere_slice_statistic(z, key), rtol=1e-4)


def test_one_slice_is_epps_and_pulleys(key: Array) -> None:
    """Against the closed form of the integral, a sum over pairs."""
    y = stats.zscore(np.asarray(laplace(key, 200, 1), np.float64)[:, 0])
    pairs = np.exp(-0.5 * (y[:, None] - y) ** 2).sum() / len(y)
    exact = pairs - np.sqrt(2) * np.exp(-(y**2) / 4).sum() + len(y) / np.sqrt(3)
    expected = exact / (1 - np.sqrt(3) / 2)
    np.testing.assert_allclose(slice_statistic(jnp.asarray(y, jnp.float32)[:, None], key, 1), expected, rtol=1e-3)


@pytest.mark.parametrize("dim", [2, 3, 16, 128])
def test_one_point_on_the_sphere(key: Array, dim: int) -> None:
    """N = 1, along its own direction: against the density of a coordinate, integrated numerically."""
    angle = np.linspace(0, np.pi, 20001)  # of the point with the slice; its density is smooth for K = 2 too
    density = np.sin(angle) ** (dim - 2)
    t = np.linspace(-6, 6, 241)
    waves = np.cos(np.sqrt(dim) * t[:, None] * np.cos(angle))
    phi = np.trapezoid(waves * density, angle) / np.trapezoid(density, angle)
    window = stats.norm.pdf(t)
    exact = np.trapezoid(np.abs(np.exp(1j * t * np.sqrt(dim)) - phi) ** 2 * window, t)
    expected = exact / np.trapezoid((1 - phi**2) * window, t)
    direction = jax.random.normal(key, (dim, 1))  # the one that is drawn
    np.testing.assert_allclose(sphere_slice_statistic(direction.T, key, 1), expected, rtol=1e-3)


def test_a_collapse_is_finite_and_large() -> None:
    point = float(slice_statistic(jnp.ones((1000, 8)), jax.random.key(0)))
    assert point == pytest.approx(1000 * (1 - np.sqrt(2) + 1 / np.sqrt(3)) / (1 - np.sqrt(3) / 2), rel=1e-3)
    assert float(sphere_slice_statistic(jnp.ones((1000, 8)), jax.random.key(0))) > 100
    assert np.isfinite(sphere_slice_statistic(jnp.zeros((1000, 8)), jax.random.key(0)))
