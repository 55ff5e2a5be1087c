"""Maps whose Jacobians are known: linear, bent by tanh, and of two layers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

SHAPES = [(5, (5,)), (7, (3,)), (3, (2, 3, 1))]  # K, shape of a sample: D = K, D < K, D > K
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def apply_linear(a: jax.Array, x: jax.Array) -> jax.Array:
    return a @ x.reshape(-1).astype(a.dtype)


def apply_bent(a: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(a @ x.reshape(-1))


def bent_jacobian(a: np.ndarray, x: Any) -> np.ndarray:
    return (1 - np.tanh(a @ np.asarray(x, np.float64).ravel()) ** 2)[:, None] * a


def apply_sphere(a: jax.Array, x: jax.Array) -> jax.Array:
    z = apply_bent(a, x)
    return z / jnp.sqrt(jnp.sum(z**2))


def apply_two_layers(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    return b @ apply_bent(a, x)


def two_layer_weights(dim: int, size: int, hidden: int = 64) -> tuple[jax.Array, jax.Array]:
    a = rng(1).standard_normal((hidden, size)) * 1.5 / math.sqrt(size)
    b = rng(2).standard_normal((dim, hidden)) / math.sqrt(hidden)
    return jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)


def two_layers(dim: int = 32, size: int = 100) -> Any:
    return Partial(apply_two_layers, *two_layer_weights(dim, size))


def orthogonal(n: int, seed: int) -> np.ndarray:
    return np.linalg.qr(rng(seed).standard_normal((n, n)))[0]


def prescribed(dim: int, size: int, spectrum: Any) -> np.ndarray:
    """U diag(spectrum) V^T, [dim, size]."""
    rank = min(dim, size)
    return orthogonal(dim, 1)[:, :rank] * np.asarray(spectrum) @ orthogonal(size, 2)[:, :rank].T


def sample(shape: tuple[int, ...], dtype: str = "float32", count: int | None = None) -> jax.Array:
    full = shape if count is None else (count, *shape)
    return jnp.asarray(0.5 * rng(3).standard_normal(full), dtype)


def samples(count: int, size: int = 100) -> jax.Array:
    """Samples of unequal length, so that a bent map stretches some more than others."""
    scale = np.exp(0.2 * rng(3).standard_normal((count, 1)))
    return jnp.asarray(scale * rng(4).standard_normal((count, size)), jnp.float32)
