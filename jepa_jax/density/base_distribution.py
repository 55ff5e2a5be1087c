"""The base distribution p(z) of an embedding, which turns the score into a corrected log-density."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln


def base_log_density(z: Array, base: str | None) -> Array | None:
    """Return log p(z) of an embedding under the distribution that its training drives it to, in nats.

    Args:
      z: Embeddings [..., K].
      base: `normal` for N(0, I_K); `sphere` for the uniform distribution on the unit sphere, `cube` for that on
        [0, 1]^K and `torus` for that on K / 2 circles of radius sqrt(2 / K), whose log-densities are constant; None if
        the distribution is unknown.

    Returns:
      The log-density [...], or None if the distribution is unknown.

    Raises:
      ValueError: If the name of the distribution is unknown.
    """
    dim = z.shape[-1]
    if base is None:
        return None
    if base == "normal":
        return -0.5 * jnp.sum(z**2, axis=-1) - 0.5 * dim * jnp.log(2 * jnp.pi)
    if base == "sphere":  # 1 / area, with area 2 pi^(K/2) / Gamma(K/2)
        area = jnp.log(2.0) + 0.5 * dim * jnp.log(jnp.pi) - gammaln(0.5 * dim)
        return jnp.full(z.shape[:-1], -area, z.dtype)
    if base == "cube":
        return jnp.zeros(z.shape[:-1], z.dtype)
    if base == "torus":
        circles = dim // 2
        return jnp.full(z.shape[:-1], -circles * jnp.log(2 * jnp.pi / circles**0.5), z.dtype)
    raise ValueError(f"base distribution is {base!r}; it must be normal, sphere, cube, torus or None")
