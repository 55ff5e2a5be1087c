"""Heartbeats in four leads: projections of a dipole of five waves a beat, normal or of three disorders."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World, log_normal

LEADS, TIMES, LATENTS = 4, 64, 6
CLASSES = ("normal", "early wide beat", "raised ST segment", "irregular without P")
# Waves P, Q, R, S, T: time after the beat and width in samples, and amplitude along three axes.
CENTRES = np.array([-7.0, -1.5, 0.0, 1.5, 10.0])
WIDTHS = np.array([2.0, 0.8, 0.9, 0.9, 3.0])
AXES = np.array([[0.25, 0.1, 0.05], [-0.2, -0.1, 0.1], [1.6, 0.7, 0.2], [-0.4, -0.5, -0.3], [0.4, 0.2, 0.1]])
PROJECTIONS = np.array([[1.0, 0.0, 0.0], [0.5, 0.85, 0.0], [-0.5, 0.85, 0.1], [0.2, 0.1, 0.95]])


def signal(latents: Array, kind: Array) -> Array:
    """Return two beats [leads, times] from latents [6] and a class.

    The latents are the time between the beats, the amplitudes of R and T, the level of the ST segment, the angle of the
    axis, and the time of the first beat.
    """
    wide, raised, irregular = (kind == k for k in (1, 2, 3))
    gain = jnp.ones(5).at[2].set(jnp.exp(0.25 * latents[1])).at[4].set(jnp.exp(0.25 * latents[2]))
    apart = jnp.where(irregular, 30 * jnp.exp(0.2 * latents[0] - 0.2), 30 * jnp.exp(0.06 * latents[0]))
    apart = jnp.where(wide, 0.7 * apart, apart)
    time = jnp.arange(TIMES, dtype=latents.dtype)
    p_wave = jnp.where(irregular, 0.0, 1.0)

    def beat(at: Array, broad: Array, p: Array) -> Array:
        width = jnp.asarray(WIDTHS, latents.dtype) * jnp.where(broad, 2.2, 1.0)
        off = (time[:, None] - at - jnp.asarray(CENTRES, latents.dtype)[None]) / width[None]
        waves = jnp.exp(-0.5 * off**2) * (gain * jnp.ones(5).at[0].set(p))[None]
        level = 0.12 * latents[3] + jnp.where(raised, 0.5, 0.0)
        segment = level * jax.nn.sigmoid(time - at - 3) * jax.nn.sigmoid(at + 9 - time)
        return waves @ jnp.asarray(AXES, latents.dtype) + segment[:, None] * jnp.asarray([[1.0, 0.5, 0.1]])

    never = jnp.zeros((), bool)
    first = 16 + 4 * latents[5]
    dipole = beat(first, never, p_wave) + beat(first + apart, wide, jnp.where(wide, 0.0, p_wave))
    angle = 0.25 * latents[4]
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([c, -s, 0 * c]), jnp.stack([s, c, 0 * c]), jnp.asarray([0.0, 0.0, 1.0])])
    return jnp.asarray(PROJECTIONS, latents.dtype) @ turn @ dipole.T


def make(noise: float = 0.03) -> World:
    """Return the world of beats [4, 64, 1], whose states are a class and six Gaussian latents.

    Each class is a 6-dimensional sheet of equal weight, with density log N(u; 0, I) - 1/2 log det(J'J) for the Jacobian
    J of the renderer (area formula); where sheets cross, which they do on sets without volume alone, the density is
    that of the sheet from which the beat came.
    """

    def render(state: Array) -> Array:
        return signal(state[1:], state[0])[:, :, None]

    def frame(state: Array) -> tuple[Array, Array]:
        jacobian = jax.jacfwd(lambda u: signal(u, state[0]))(state[1:])
        return jnp.linalg.qr(jacobian.reshape(-1, LATENTS))

    def log_density(state: Array) -> Array:
        size = jnp.sum(jnp.log(jnp.abs(jnp.diag(frame(state)[1]))))
        return log_normal(state[1:]) - size - jnp.log(len(CLASSES))

    def draw(key: Array) -> Array:
        which, key = jax.random.split(key)
        kind = jax.random.randint(which, (), 0, len(CLASSES)).astype(jnp.float32)
        return jnp.concatenate([kind[None], jax.random.normal(key, (LATENTS,), jnp.float32)])

    def views(key: Array, state: Array) -> tuple[Array, Array]:
        e = noise * jax.random.normal(key, (2, LEADS, TIMES, 1), state.dtype)
        return render(state) + e[0], render(state) + e[1]

    return World(
        "beats",
        (LEADS, TIMES, 1),
        noise,
        draw,
        log_density,
        views,
        render=render,
        tangent=lambda state: frame(state)[0],
        manifold_dim=LATENTS,
        label=lambda state: state[0].astype(jnp.int32),
    )
