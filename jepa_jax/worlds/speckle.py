"""Targets under multiplicative noise: radar images of several looks, or, with one look, power spectrograms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World

SIDE, SHIFTS = 16, 5  # a target is placed at 5 x 5 places
LEAST_WAIT = 2.0**-24  # half of the smallest number above zero that the generator of exponential variables returns
SHAPES = (  # 8 x 8 pixels in hexadecimal rows: bar, ring, cross, corner, two spots, diagonal
    "00003c7e7e3c0000",
    "007e42424242427e",
    "18181bffff181818",
    "6060606060607e7e",
    "0066660000666600",
    "c0e070381c0e0703",
)


def templates(contrast: float) -> np.ndarray:
    """Return the mean intensities of all targets at all places, [targets * places, 16, 16], 1 beside a target."""
    found = []
    for shape in SHAPES:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(shape), np.uint8)).reshape(8, 8)
        for place in range(SHIFTS**2):
            image = np.ones((SIDE, SIDE))
            top, left = 2 + np.array(divmod(place, SHIFTS))
            image[top : top + 8, left : left + 8] += (contrast - 1) * bits
            found.append(image)
    return np.stack(found)


def make(noise: float = 0.1, looks: int = 4, contrast: float = 3.0, name: str = "speckle") -> World:
    """Return the world of log-intensities [16, 16, 1]: templates times Gamma(L, 1 / L), whose class is the target.

    An intensity of L looks is the mean of L exponential variables (Goodman, "Some fundamental properties of speckle",
    1976). p(x) is the mean over targets and places of products of gamma densities, in units of the log-intensity.

    Args:
      noise: Standard deviation of the noise of each view, in units of the log-intensity.
      looks: L.
      contrast: Intensity of a target over that beside it.
      name: Name of the world.
    """
    means = jnp.asarray(np.log(templates(contrast)).reshape(-1, SIDE * SIDE), jnp.float32)
    constant = SIDE**2 * (looks * np.log(looks) - jax.scipy.special.gammaln(looks))

    def log_density(state: Array) -> Array:
        over = state[None, 1:] - means
        logs = looks * jnp.sum(over - jnp.exp(over), axis=1) + constant
        return jax.nn.logsumexp(logs) - jnp.log(len(means))

    def render(state: Array) -> Array:
        return state[1:].reshape(SIDE, SIDE, 1)

    def draw(key: Array) -> Array:
        which, key = jax.random.split(key)
        k = jax.random.randint(which, (), 0, len(means))
        # Sums of exponential variables, because a sampler of gamma variables loops.
        waits = jnp.maximum(jax.random.exponential(key, (looks, SIDE * SIDE), jnp.float32), LEAST_WAIT)
        log_intensity = means[k] + jnp.log(jnp.mean(waits, axis=0))
        return jnp.concatenate([(k // SHIFTS**2).astype(jnp.float32)[None], log_intensity])

    def views(key: Array, state: Array) -> tuple[Array, Array]:
        e = noise * jax.random.normal(key, (2, SIDE, SIDE, 1), state.dtype)
        return render(state) + e[0], render(state) + e[1]

    return World(
        name,
        (SIDE, SIDE, 1),
        noise,
        draw,
        log_density,
        views,
        render=render,
        label=lambda state: state[0].astype(jnp.int32),
    )


make_one_look = partial(make, looks=1, contrast=8.0, name="speckle_1")
