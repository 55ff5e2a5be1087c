"""How far an embedding is from its law, by the characteristic functions of its one-dimensional projections.

Of a slice y_1 .. y_N, with empirical characteristic function phi_N(t) = mean exp(i t y), the statistic of Epps and
Pulley is N * int |phi_N(t) - phi(t)|^2 w(t) dt, with phi that of the law, and here w the density of N(0, 1). For
samples of the law its expectation does not grow with N; for others it grows like N. Here it is divided by that
expectation: 1 is what samples of the law have, at any N and K.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Trapezoid rule. Both laws are even, so t > 0 is half of the integral, and at t = 0 both functions are 1.
# Exact to 1e-6 for values up to 15 standard deviations apart: what lies beyond the last node weighs that much, and the
# spacing aliases only what oscillates about as fast as 2 pi / 0.3 = 21.
SPACING = 0.3
NODES = SPACING * np.arange(1, 17)
WEIGHTS = 2 * SPACING * np.exp(-0.5 * NODES**2) / np.sqrt(2 * np.pi)


@functools.partial(jax.jit, static_argnames="num_slices")
def slice_statistic(z: Array, key: Array, num_slices: int = 256) -> Array:
    """How far from normal the slices of an embedding are: 1 for Gaussian samples, growing like N for others.

    Each slice is standardised with its own mean and standard deviation: any mean and covariance will do, and no shift,
    scaling or rotation matters (of a rotation, only that the directions fall otherwise). `moments` looks at those.
    In many dimensions slices of almost anything are nearly normal, so 1 is needed for N(0, I), and not enough.

    Estimating the two takes most of the expectation away. sqrt(N) (phi_N - phi) then has the covariance
    exp(-(s - t)^2 / 2) - exp(-(s^2 + t^2) / 2) (1 + s t + (s t)^2 / 2), so the expectation tends to
    int [1 - exp(-t^2) (1 + t^2 + t^4 / 2)] w(t) dt = 1 - (1 + 1/3 + 1/6) / sqrt(3) = 1 - sqrt(3) / 2,
    and is within 1 % of it from N = 16 on. Epps & Pulley, Biometrika 70 (1983); Henze & Zirkler, Communications in
    Statistics 19 (1990).

    Args:
      z: [N, K]; K may exceed N.
      key: draws the directions, uniform on the sphere.
      num_slices: number of directions.

    Returns:
      A scalar; 1.2 N for an embedding that has collapsed to a point.
    """
    y = _slices(z - jnp.mean(z, axis=0, keepdims=True), key, num_slices)
    y /= jnp.maximum(jnp.std(y, axis=0, keepdims=True), jnp.finfo(z.dtype).tiny)
    return _distance(y, np.exp(-0.5 * NODES**2)) / (1 - np.sqrt(3) / 2)


@functools.partial(jax.jit, static_argnames="num_slices")
def sphere_slice_statistic(z: Array, key: Array, num_slices: int = 256) -> Array:
    """How far from uniform on the sphere an embedding is: 1 for uniform samples, growing like N for others.

    A coordinate of a uniform point, times sqrt(K), is nearly normal only for large K. Its characteristic function is
    Gamma(K/2) (2/u)^(K/2-1) J_{K/2-1}(u) with u = sqrt(K) t, that is 0F1(K/2; -K t^2 / 4), which tends to exp(-t^2/2).
    Nothing is estimated, so the expectation, int (1 - phi(t)^2) w(t) dt, holds for every N.

    Args:
      z: [N, K]; each row is divided by its norm.
      key: draws the directions, uniform on the sphere.
      num_slices: number of directions.
    """
    dim = z.shape[1]
    unit = z / jnp.maximum(jnp.linalg.norm(z, axis=1, keepdims=True), jnp.finfo(z.dtype).tiny)
    phi = _coordinate_law(dim)
    return _distance(np.sqrt(dim) * _slices(unit, key, num_slices), phi) / np.sum(WEIGHTS * (1 - phi**2))


def _coordinate_law(dim: int) -> np.ndarray:
    """0F1(K/2; -K t^2 / 4) at NODES by its series; SciPy's overflows for K of a thousand."""
    n = np.arange(80)  # the largest term is below 1e5, so eleven digits are right
    ratio = -0.25 * dim * NODES[:, None] ** 2 / ((0.5 * dim + n) * (1.0 + n))
    return 1 + np.cumprod(ratio, axis=1).sum(axis=1)


def _slices(z: Array, key: Array, num_slices: int) -> Array:
    """Projections [N, num_slices] on random directions."""
    directions = jax.random.normal(key, (z.shape[1], num_slices), z.dtype)
    return z @ (directions / jnp.linalg.norm(directions, axis=0, keepdims=True))


def _distance(y: Array, phi: np.ndarray) -> Array:
    """Epps-Pulley statistic of slices y [N, slices] against a real characteristic function at NODES, their mean."""
    # exp(i n h y) is the n-th power of exp(i h y): one sine and cosine for all nodes.
    step = jax.lax.complex(jnp.cos(SPACING * y), jnp.sin(SPACING * y))

    def turn(power: Array, _: None) -> tuple[Array, Array]:
        power *= step
        return power, jnp.mean(power, axis=0)

    _, empirical = jax.lax.scan(turn, jnp.ones_like(step), None, length=len(NODES))  # [nodes, slices]
    error = jnp.abs(empirical - jnp.asarray(phi, step.dtype)[:, None]) ** 2
    return y.shape[0] * jnp.mean(jnp.asarray(WEIGHTS, y.dtype) @ error)
