"""Three concentric circles with Gaussian noise, whose density contains a Bessel function."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import i0e

from jepa_jax.worlds.world import World, noisy_views


def make(noise: float = 0.08) -> World:
    """Return circles of radius 1, 2, 3 with equal mass on each and noise 0.2.

    A point of radius R at a uniform angle plus N(0, s^2 I) has density
    exp(-(r - R)^2 / 2 s^2) i0e(r R / s^2) / (2 pi s^2), with i0e the scaled Bessel function (the Rice distribution).
    """
    radii, width = jnp.array([1.0, 2.0, 3.0]), 0.2

    def draw(key: Array) -> Array:
        which, angle_key, off = jax.random.split(key, 3)
        angle = 2 * jnp.pi * jax.random.uniform(angle_key)
        radius = radii[jax.random.randint(which, (), 0, radii.size)]
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)]) + width * jax.random.normal(off, (2,))

    def log_density(x: Array, blur: float = 0.0) -> Array:
        variance = width**2 + blur**2
        r = jnp.sqrt(jnp.sum(x**2))
        logs = -0.5 * (r - radii) ** 2 / variance + jnp.log(i0e(r * radii / variance))
        return jax.nn.logsumexp(logs) - jnp.log(radii.size * 2 * jnp.pi * variance)

    return World(
        "rings",
        (2,),
        noise,
        draw,
        log_density,
        noisy_views(noise),
        log_density_smoothed=lambda x: log_density(x, noise),
        extent=(-4.0, 4.0),
    )
