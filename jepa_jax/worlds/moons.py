"""Two interleaved half circles with Gaussian noise."""

import jax.numpy as jnp
from jax import Array

from jepa_jax.worlds.world import World, noisy_curve


def make(noise: float = 0.05) -> World:
    """Return half circles of radius 1 around (-0.5, -0.25) and, upside down, (0.5, 0.25), with noise 0.15."""

    def curve(t: Array) -> Array:
        upper = t < 0.5
        angle = 2 * jnp.pi * jnp.where(upper, t, t - 0.5)
        x = jnp.where(upper, jnp.cos(angle) - 0.5, 0.5 - jnp.cos(angle))
        y = jnp.where(upper, jnp.sin(angle) - 0.25, 0.25 - jnp.sin(angle))
        return jnp.stack([x, y])

    return noisy_curve("moons", curve, 0.15, noise, (-2.2, 2.2), pieces=2)
