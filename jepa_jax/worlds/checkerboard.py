"""The dark squares of a 4 x 4 checkerboard, blurred by Gaussian noise so that the density is positive everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr

from jepa_jax.worlds.world import World, noisy_views

SIDE = 1.0


def make(noise: float = 0.08) -> World:
    """Return the uniform distribution on eight unit squares of [-2, 2]^2, convolved with N(0, 0.1^2 I).

    The density has a closed form in normal integrals.
    """
    width = 0.1
    corners = jnp.asarray([(i - 2, j - 2) for i in range(4) for j in range(4) if (i + j) % 2 == 0], np.float32)

    def draw(key: Array) -> Array:
        which, where, off = jax.random.split(key, 3)
        corner = corners[jax.random.randint(which, (), 0, len(corners))]
        return corner + SIDE * jax.random.uniform(where, (2,)) + width * jax.random.normal(off, (2,))

    def log_density(x: Array, blur: float = 0.0) -> Array:
        scale = jnp.sqrt(width**2 + blur**2)
        low, high = (corners - x[None]) / scale, (corners + SIDE - x[None]) / scale  # [8, 2]
        # P(low < Z < high) = P(-high < Z < -low): use the left tail, where log_ndtr is accurate.
        low, high = jnp.where(low + high > 0, -high, low), jnp.where(low + high > 0, -low, high)
        a, b = log_ndtr(high), log_ndtr(low)
        logs = a + jnp.log1p(-jnp.exp(b - a))
        return jax.nn.logsumexp(jnp.sum(logs, axis=1)) - jnp.log(len(corners) * SIDE**2)

    return World(
        "checkerboard",
        (2,),
        noise,
        draw,
        log_density,
        noisy_views(noise),
        log_density_smoothed=lambda x: log_density(x, noise),
        extent=(-2.6, 2.6),
    )
