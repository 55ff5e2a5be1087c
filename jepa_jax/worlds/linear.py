"""Gaussian pairs whose features differ in covariance and in regression coefficient: the data of deep linear theory."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World

DIM = 8
# Covariance of each feature with its partner, and coefficient of the regression of the partner on it: the first feature
# is the most predictable one, and the last has the largest covariance.
COVARIANCES = np.linspace(0.9, 1.0, DIM)
COEFFICIENTS = np.linspace(0.9, 0.45, DIM)


def make(noise: float = 0.0) -> World:
    """Return pairs x ~ N(0, S), y = rho x + e with independent coordinates and E[y y'] = S, where S = lambda / rho.

    Littwin et al., "How JEPA avoids noisy features", arXiv 2407.03475: lambda_i = E[x_i y_i], rho_i = lambda_i /
    E[x_i^2].
    """
    variance = jnp.asarray(COVARIANCES / COEFFICIENTS, jnp.float32)
    rho = jnp.asarray(COEFFICIENTS, jnp.float32)

    def log_density(x: Array) -> Array:
        return -0.5 * jnp.sum(x**2 / variance + jnp.log(2 * jnp.pi * variance))

    def views(key: Array, x: Array) -> tuple[Array, Array]:
        e, *added = jax.random.normal(key, (3, *x.shape), x.dtype)
        y = rho * x + jnp.sqrt(variance * (1 - rho**2)) * e
        return x + noise * added[0], y + noise * added[1]

    def draw(key: Array) -> Array:
        return jnp.sqrt(variance) * jax.random.normal(key, (DIM,), jnp.float32)

    return World("linear", (DIM,), noise, draw, log_density, views)
