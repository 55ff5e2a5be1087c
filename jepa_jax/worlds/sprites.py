"""Small images of one soft blob, rendered from four Gaussian latents: a 4-dimensional manifold in 256 pixels."""

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.worlds.world import World, log_normal, ornstein_uhlenbeck

SIDE = 16
LATENTS = 4


def render(u: Array) -> Array:
    """Render latents [4] (column, row, size, brightness) as an image [16, 16, 1] with values of about 0 .. 2.

    The blob's centre moves 2.2 pixels per unit, its radius is 2.2 exp(0.2 u2) pixels, and its height is exp(0.3 u3).
    """
    grid = jnp.arange(SIDE, dtype=u.dtype) - (SIDE - 1) / 2
    radius = 2.2 * jnp.exp(0.2 * u[2])
    across = jnp.exp(-0.5 * ((grid - 2.2 * u[0]) / radius) ** 2)
    down = jnp.exp(-0.5 * ((grid - 2.2 * u[1]) / radius) ** 2)
    return (jnp.exp(0.3 * u[3]) * down[:, None] * across[None, :])[:, :, None]


def _frame(u: Array) -> tuple[Array, Array]:
    """Return an orthonormal tangent basis [256, 4] and the triangle [4, 4]: the QR of the renderer's Jacobian."""
    return jnp.linalg.qr(jax.jacfwd(render)(u).reshape(-1, LATENTS))


def log_density(u: Array) -> Array:
    """Return log p on the manifold by the area formula: log N(u; 0, I) - 0.5 log det(J^T J) of the renderer's J."""
    return log_normal(u) - jnp.sum(jnp.log(jnp.abs(jnp.diag(_frame(u)[1]))))


def make(noise: float = 0.1, rho: float = 0.95) -> World:
    """Return the world of sprites, where the state of a sample is its latents.

    A pair is an Ornstein-Uhlenbeck step in the latents, plus pixel noise.
    """

    def views(key: Array, u: Array) -> tuple[Array, Array]:
        step, noise_key = jax.random.split(key)
        e = noise * jax.random.normal(noise_key, (2, SIDE, SIDE, 1), u.dtype)
        return render(u) + e[0], render(ornstein_uhlenbeck(step, u, rho)) + e[1]

    return World(
        "sprites",
        (SIDE, SIDE, 1),
        noise,
        lambda key: jax.random.normal(key, (LATENTS,)),
        log_density,
        views,
        render=render,
        tangent=lambda u: _frame(u)[0],
        manifold_dim=LATENTS,
    )
