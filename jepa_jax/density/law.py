"""The embedding's own law, which turns the score into a corrected log-density."""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln


def log_law(z: Array, law: str | None) -> Array | None:
    """log-density of an embedding under the law its training drives it to, in nats.

    Args:
      z: [..., K].
      law: `normal` for N(0, I_K); `sphere` for the uniform law on the unit sphere, a constant; None if unknown.

    Returns:
      [...], or None where the law is None.

    Raises:
      ValueError: an unknown law.
    """
    dim = z.shape[-1]
    if law is None:
        return None
    if law == "normal":
        return -0.5 * jnp.sum(z**2, axis=-1) - 0.5 * dim * jnp.log(2 * jnp.pi)
    if law == "sphere":  # one over the sphere's area, 2 pi^(K/2) / Gamma(K/2)
        area = jnp.log(2.0) + 0.5 * dim * jnp.log(jnp.pi) - gammaln(0.5 * dim)
        return jnp.full(z.shape[:-1], -area, z.dtype)
    raise ValueError(f"law is {law!r}; it must be normal, sphere or None")
