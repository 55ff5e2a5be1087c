"""Distance of an embedding from its base distribution, by characteristic functions of one-dimensional projections.

For a slice y_1 .. y_N with empirical characteristic function phi_N(t) = mean exp(i t y), the statistic of Epps and
Pulley is N * int |phi_N(t) - phi(t)|^2 w(t) dt, with phi the characteristic function of the distribution; here w is the
density of N(0, 1). For samples of the distribution its expectation does not grow with N; for others it grows like N.
Here the statistic is divided by that expectation, so samples of the distribution have the value 1 at any N and K.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Trapezoid rule. Both distributions are even, so t > 0 is half of the integral, and at t = 0 both functions are 1.
# The rule is exact to 1e-6 for values up to 15 standard deviations apart: the part beyond the last node has that
# weight, and the spacing aliases only oscillations of a frequency near 2 pi / 0.3 = 21.
NODE_SPACING = 0.3
QUADRATURE_NODES = NODE_SPACING * np.arange(1, 17)
QUADRATURE_WEIGHTS = 2 * NODE_SPACING * np.exp(-0.5 * QUADRATURE_NODES**2) / np.sqrt(2 * np.pi)


@functools.partial(jax.jit, static_argnames="num_slices")
def slice_statistic(z: Array, key: Array, num_slices: int = 256) -> Array:
    """Measure how far the slices of an embedding are from normal: 1 for Gaussian samples, growing like N for others.

    Each slice is standardised with its own mean and standard deviation, so the statistic accepts any mean and
    covariance and does not depend on shift, scaling or rotation (a rotation only changes the drawn directions);
    `moments` measures mean and covariance. In many dimensions the slices of almost any distribution are nearly normal,
    so the value 1 is necessary for N(0, I), but not sufficient.

    Estimating mean and standard deviation removes most of the expectation. Then sqrt(N) (phi_N - phi) has covariance
    exp(-(s - t)^2 / 2) - exp(-(s^2 + t^2) / 2) (1 + s t + (s t)^2 / 2), so the expectation tends to
    int [1 - exp(-t^2) (1 + t^2 + t^4 / 2)] w(t) dt = 1 - (1 + 1/3 + 1/6) / sqrt(3) = 1 - sqrt(3) / 2, and is within 1 %
    of it from N = 16 on. Epps & Pulley, Biometrika 70 (1983); Henze & Zirkler, Communications in Statistics 19 (1990).

    Args:
      z: Embeddings [N, K]; K may exceed N.
      key: Key of the directions, which are uniform on the sphere.
      num_slices: Number of directions.

    Returns:
      A scalar; 1.2 N for an embedding that has collapsed to a point.
    """
    y = _slices(z - jnp.mean(z, axis=0, keepdims=True), key, num_slices)
    y /= jnp.maximum(jnp.std(y, axis=0, keepdims=True), jnp.finfo(z.dtype).tiny)
    return _distance(y, np.exp(-0.5 * QUADRATURE_NODES**2)) / (1 - np.sqrt(3) / 2)


@functools.partial(jax.jit, static_argnames="num_slices")
def sphere_slice_statistic(z: Array, key: Array, num_slices: int = 256) -> Array:
    """Measure how far an embedding is from uniform on the sphere: 1 for uniform samples, growing like N for others.

    A coordinate of a uniform point, times sqrt(K), is nearly normal only for large K. Its characteristic function is
    Gamma(K/2) (2/u)^(K/2-1) J_{K/2-1}(u) with u = sqrt(K) t, that is 0F1(K/2; -K t^2 / 4), which tends to exp(-t^2/2).
    No parameter is estimated, so the expectation, int (1 - phi(t)^2) w(t) dt, holds for every N.

    Args:
      z: Embeddings [N, K]; each row is divided by its norm.
      key: Key of the directions, which are uniform on the sphere.
      num_slices: Number of directions.
    """
    dim = z.shape[1]
    unit = z / jnp.maximum(jnp.linalg.norm(z, axis=1, keepdims=True), jnp.finfo(z.dtype).tiny)
    phi = _coordinate_characteristic_function(dim)
    return _distance(np.sqrt(dim) * _slices(unit, key, num_slices), phi) / np.sum(QUADRATURE_WEIGHTS * (1 - phi**2))


def _coordinate_characteristic_function(dim: int) -> np.ndarray:
    """Return 0F1(K/2; -K t^2 / 4) at the nodes by its series; SciPy's version overflows for K near a thousand."""
    n = np.arange(80)  # the largest term is below 1e5, so eleven digits are correct
    ratio = -0.25 * dim * QUADRATURE_NODES[:, None] ** 2 / ((0.5 * dim + n) * (1.0 + n))
    return 1 + np.cumprod(ratio, axis=1).sum(axis=1)


def _slices(z: Array, key: Array, num_slices: int) -> Array:
    """Return projections [N, num_slices] on random directions."""
    directions = jax.random.normal(key, (z.shape[1], num_slices), z.dtype)
    return z @ (directions / jnp.linalg.norm(directions, axis=0, keepdims=True))


def _distance(y: Array, phi: np.ndarray) -> Array:
    """Return the mean Epps-Pulley statistic of slices y [N, slices].

    `phi` is a real characteristic function at the nodes.
    """
    # exp(i n h y) is the n-th power of exp(i h y): all nodes need only one sine and one cosine.
    step = jax.lax.complex(jnp.cos(NODE_SPACING * y), jnp.sin(NODE_SPACING * y))

    def turn(power: Array, _: None) -> tuple[Array, Array]:
        power *= step
        return power, jnp.mean(power, axis=0)

    _, empirical = jax.lax.scan(turn, jnp.ones_like(step), None, length=len(QUADRATURE_NODES))  # [nodes, slices]
    error = jnp.abs(empirical - jnp.asarray(phi, step.dtype)[:, None]) ** 2
    return y.shape[0] * jnp.mean(jnp.asarray(QUADRATURE_WEIGHTS, y.dtype) @ error)
