"""Sums over all pairs of a batch."""

import jax
import jax.numpy as jnp
from jax import Array


def off_diagonal_log_mean_exp(a: Array) -> Array:
    """Return the log of the mean of exp(a_ij) over i != j, for a square matrix a [B, B]."""
    size = a.shape[0]
    masked = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, a)
    return jax.nn.logsumexp(masked) - jnp.log(size * (size - 1))
