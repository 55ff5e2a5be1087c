"""An Archimedean spiral of one and a half turns with Gaussian noise."""

import jax.numpy as jnp
from jax import Array

from jepa_jax.worlds.world import World, noisy_curve


def make(noise: float = 0.05) -> World:
    """Radius 0.4 + 1.8 t over angles 3 pi t, t uniform on [0, 1), noise 0.15: thinner mass further out."""

    def curve(t: Array) -> Array:
        radius, angle = 0.4 + 1.8 * t, 3 * jnp.pi * t
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    return noisy_curve("spiral", curve, 0.15, noise, (-2.8, 2.8))
