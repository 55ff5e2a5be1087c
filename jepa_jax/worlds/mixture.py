"""Eight isotropic Gaussians of different width and weight, in any dimension."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World, noisy_views

COMPONENTS = 8
RADIUS = 3.0  # radius of the sphere that the centres lie on


def make(dim: int, noise: float = 0.1) -> World:
    """Return the world p(x) = sum_c weight_c N(x; centre_c, width_c^2 I).

    The widths are 0.35 .. 0.9, and the weights have a ratio of up to 1 : 3.
    """
    rng = np.random.default_rng(8)
    if dim == 2:  # evenly spaced on a circle, so that neighbours touch and a plot is readable
        angle = 2 * np.pi * np.arange(COMPONENTS) / COMPONENTS
        directions = np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        directions = rng.standard_normal((COMPONENTS, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = rng.permutation(np.linspace(1, 3, COMPONENTS))
    centres = jnp.asarray(RADIUS * directions, jnp.float32)
    widths = jnp.asarray(rng.permutation(np.geomspace(0.35, 0.9, COMPONENTS)), jnp.float32)
    log_weights = jnp.asarray(np.log(weights / weights.sum()), jnp.float32)

    def draw(key: Array) -> Array:
        which, where = jax.random.split(key)
        c = jax.random.categorical(which, log_weights)
        return centres[c] + widths[c] * jax.random.normal(where, (dim,))

    def log_density(x: Array, blur: float = 0.0) -> Array:
        variance = widths**2 + blur**2
        square = jnp.sum((x[None] - centres) ** 2, axis=1)
        logs = log_weights - 0.5 * square / variance - 0.5 * dim * jnp.log(2 * jnp.pi * variance)
        return jax.nn.logsumexp(logs)

    return World(
        f"mixture_{dim}d",
        (dim,),
        noise,
        draw,
        log_density,
        noisy_views(noise),
        log_density_smoothed=lambda x: log_density(x, noise),
        extent=(-5.5, 5.5) if dim == 2 else None,
    )
