"""Sketched isotropic Gaussian regularisation (SIGReg)."""

import jax
import jax.numpy as jnp
from jax import Array

NUM_NODES = 17  # nodes of the trapezoid rule on [0, T_MAX], as in the reference code
T_MAX = 3.0


def sigreg(z: Array, key: Array, *, num_slices: int = 256) -> Array:
    """Return the Epps-Pulley distance of random 1-D projections from N(0, 1), averaged over slices and views.

    For a slice with empirical characteristic function phi_B(t) the statistic is
    B * int |phi_B(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt over [-3, 3]. Balestriero & LeCun, "LeJEPA", arXiv 2511.08544,
    with the window and the quadrature of its reference code. By the theorem of Cramer and Wold, zero on every slice
    means N(0, I).

    Args:
      z: Embeddings [V, B, K].
      key: Key of the directions, which are drawn anew at each step.
      num_slices: Number of directions, uniform on the sphere.

    Returns:
      A scalar: about 1.05 for embeddings distributed as N(0, I), of order B for others.
    """
    directions = jax.random.normal(key, (z.shape[-1], num_slices), z.dtype)
    directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)
    t = jnp.linspace(0.0, T_MAX, NUM_NODES, dtype=z.dtype)
    step = T_MAX / (NUM_NODES - 1)
    window = jnp.exp(-0.5 * t**2)
    # Twice the trapezoid weights: the integrand is even.
    weights = 2 * step * jnp.where((t == 0) | (t == T_MAX), 0.5, 1.0) * window

    def one_view(z: Array) -> Array:
        # exp(i t_n s) is a power of exp(i t_1 s): the recurrence needs one sine and cosine, not NUM_NODES.
        angle = step * (z @ directions)  # [B, slices]
        first = jnp.stack([jnp.cos(angle), jnp.sin(angle)])

        def turn(carry: Array, _: None) -> tuple[Array, Array]:
            c, s = carry
            after = jnp.stack([c * first[0] - s * first[1], s * first[0] + c * first[1]])
            return after, jnp.mean(carry, axis=1)  # [2, slices]

        start = jnp.stack([jnp.ones_like(angle), jnp.zeros_like(angle)])
        # Not unrolled: XLA would fuse the steps and recompute the early ones for every later one.
        _, phi = jax.lax.scan(turn, start, None, length=NUM_NODES)  # [NUM_NODES, 2, slices]
        error = (phi[:, 0] - window[:, None]) ** 2 + phi[:, 1] ** 2
        return z.shape[0] * jnp.mean(weights @ error)

    return jnp.mean(jax.vmap(one_view)(z))
