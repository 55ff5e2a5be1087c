"""Random pictures and keys."""

import jax
import jax.numpy as jnp
import numpy as np


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random((height, width, channels), np.float32))


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)
