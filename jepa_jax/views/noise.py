"""Random views of one sample: (key, x) -> x of the same shape."""

import jax
import jax.numpy as jnp
from jax import Array


def jittered(key: Array, x: Array, noise: float | Array, shift: int) -> Array:
    """x moved by up to `shift` pixels along each axis of an image, then with Gaussian noise added.

    Args:
      x: [H, W, C] if shift > 0, else any shape.
      noise: standard deviation, broadcastable to x.
      shift: largest move; what comes in at the border repeats the edge.
    """
    move, add = jax.random.split(key)
    if shift:
        padded = jnp.pad(x, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        start = jax.random.randint(move, (2,), 0, 2 * shift + 1)
        x = jax.lax.dynamic_slice(padded, (start[0], start[1], jnp.zeros_like(start[0])), x.shape)
    return x + noise * jax.random.normal(add, x.shape, x.dtype)
