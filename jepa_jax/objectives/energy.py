"""Energy distance of the embeddings from the normal distribution."""

import jax
import jax.numpy as jnp
from jax import Array

CLOSE = 1e-12  # square of a distance, below which its root would have no gradient


def energy(z: Array, key: Array) -> Array:
    """Return 2 E|z - g| - E|z - z'| - E|g - g'| for g ~ N(0, I), averaged over views.

    Szekely & Rizzo, "Energy statistics: a class of statistics based on distances", 2013, eq. 5. The expectations are
    means over pairs of different samples, so that the value is 0 on average for embeddings distributed as N(0, I).

    Args:
      z: Embeddings [V, B, K].
      key: Key of the B normal vectors, which are drawn anew at each step.

    Returns:
      A scalar.
    """
    count = z.shape[1]
    normal = jax.random.normal(key, z.shape[1:], z.dtype)

    def distances(a: Array, b: Array) -> Array:
        square = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None] - 2 * a @ b.T
        return jnp.sqrt(jnp.maximum(square, CLOSE))

    def within(a: Array) -> Array:
        return jnp.sum(jnp.where(jnp.eye(count, dtype=bool), 0.0, distances(a, a))) / (count * (count - 1))

    return jnp.mean(jax.vmap(lambda view: 2 * jnp.mean(distances(view, normal)) - within(view))(z)) - within(normal)
