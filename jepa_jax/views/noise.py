"""Random views of one sample by shift and noise: (key, x) -> x of the same shape."""

import jax
import jax.numpy as jnp
from jax import Array


def jittered(key: Array, x: Array, noise: float | Array, shift: int) -> Array:
    """Shift x by up to `shift` pixels along each axis of an image, then add Gaussian noise.

    Args:
      key: Key of the shift and the noise.
      x: Image [H, W, C] if shift > 0, else a sample of any shape.
      noise: Standard deviation, broadcastable to x.
      shift: Largest shift in pixels; pixels that enter at the border repeat the edge.
    """
    move, add = jax.random.split(key)
    if shift:
        padded = jnp.pad(x, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        start = jax.random.randint(move, (2,), 0, 2 * shift + 1)
        x = jax.lax.dynamic_slice(padded, (start[0], start[1], jnp.zeros_like(start[0])), x.shape)
    return x + noise * jax.random.normal(add, x.shape, x.dtype)
