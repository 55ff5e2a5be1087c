"""A Gaussian bent along a parabola."""

import jax.numpy as jnp
from jax import Array

from jepa_jax.worlds.world import World, pushforward


def make(noise: float = 0.0, rho: float = 0.95) -> World:
    """Return the world x = (1.2 u1, 0.5 u2 + 0.7 (u1^2 - 1)) with u ~ N(0, I).

    The map is a shear, so its volume change is constant.
    """
    wide, narrow, bend = 1.2, 0.5, 0.7

    def forward(u: Array) -> Array:
        return jnp.stack([wide * u[0], narrow * u[1] + bend * (u[0] ** 2 - 1)])

    def inverse(x: Array) -> tuple[Array, Array]:
        u0 = x[0] / wide
        u1 = (x[1] - bend * (u0**2 - 1)) / narrow
        return jnp.stack([u0, u1]), -jnp.log(jnp.asarray(wide * narrow))

    return pushforward("banana", forward, inverse, 2, noise, rho, extent=(-4.0, 5.0))
