"""An Archimedean spiral of one and a half turns with Gaussian noise."""

import jax.numpy as jnp
from jax import Array

from jepa_jax.worlds.world import World, noisy_curve


def make(noise: float = 0.05) -> World:
    """Return a spiral of radius 0.4 + 1.8 t at the angle 3 pi t, with t uniform on [0, 1) and noise 0.15.

    The density decreases outwards.
    """

    def curve(t: Array) -> Array:
        radius, angle = 0.4 + 1.8 * t, 3 * jnp.pi * t
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    return noisy_curve("spiral", curve, 0.15, noise, (-2.8, 2.8))
