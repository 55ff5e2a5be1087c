"""Gaussian latents through affine coupling layers: an invertible map whose volume change varies from place to place."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World, pushforward

LAYERS = 4
WIDTH = 16
STRENGTH = 0.6  # bound of each layer's log-scale and shift


def make(dim: int, noise: float = 0.0, rho: float = 0.95) -> World:
    """Return a world of four layers b <- b exp(s(a)) + t(a) with fixed random tanh networks s, t.

    The halves a and b are exchanged after each layer. log |det| of a layer is the sum of s(a) (Dinh et al., Real NVP,
    arXiv 1605.08803, eq. 6).
    """
    rng = np.random.default_rng(dim)
    half = dim // 2
    first = jnp.asarray(rng.standard_normal((LAYERS, half, WIDTH)) / np.sqrt(half), jnp.float32)
    bias = jnp.asarray(rng.standard_normal((LAYERS, WIDTH)), jnp.float32)
    last = jnp.asarray(rng.standard_normal((LAYERS, WIDTH, 2, half)) / np.sqrt(WIDTH), jnp.float32)

    def scale_and_shift(layer: int, a: Array) -> tuple[Array, Array]:
        hidden = jnp.tanh(a @ first[layer] + bias[layer])
        out = STRENGTH * jnp.tanh(jnp.einsum("h,hcd->cd", hidden, last[layer]))
        return out[0], out[1]

    def forward(u: Array) -> Array:
        a, b = u[:half], u[half:]
        for layer in range(LAYERS):
            s, t = scale_and_shift(layer, a)
            a, b = b * jnp.exp(s) + t, a
        return jnp.concatenate([a, b])

    def inverse(x: Array) -> tuple[Array, Array]:
        a, b = x[:half], x[half:]
        log_det = jnp.zeros((), x.dtype)
        for layer in reversed(range(LAYERS)):
            s, t = scale_and_shift(layer, b)
            a, b = b, (a - t) * jnp.exp(-s)
            log_det -= jnp.sum(s)
        return jnp.concatenate([a, b]), log_det

    return pushforward(f"coupling_{dim}d", forward, inverse, dim, noise, rho, (-4.0, 4.0) if dim == 2 else None)
