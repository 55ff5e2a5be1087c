"""The base distribution p(z) of an embedding, which turns the score into a corrected log-density."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln


def base_log_density(z: Array, base: str | None) -> Array | None:
    """Return log p(z) of an embedding under the distribution that its training drives it to, in nats.

    Args:
      z: Embeddings [..., K].
      base: `normal` for N(0, I_K); `sphere` for the uniform distribution on the unit sphere, whose log-density is
        constant; None if the distribution is unknown.

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
    raise ValueError(f"base distribution is {base!r}; it must be normal, sphere or None")
