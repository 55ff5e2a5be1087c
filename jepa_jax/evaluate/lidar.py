"""LiDAR: effective rank of the directions that tell samples apart beyond the differences of their views."""

import jax
import jax.numpy as jnp
from jax import Array

REGULARISATION = 1e-4  # delta of the paper


@jax.jit
def lidar(z: Array) -> Array:
    """Return the effective rank of the discriminant of embeddings, 1 .. min(n - 1, K).

    Thilak et al., "LiDAR: sensing linear probing performance in joint embedding SSL architectures", arXiv 2312.04000,
    section 4: with S_b the covariance of the means over views and S_w that within samples, exp of the entropy of the
    eigenvalues of (S_w + delta I)^(-1/2) S_b (S_w + delta I)^(-1/2), normalised to sum to one.

    Args:
      z: Embeddings [n, q, K] of q views of each of n samples.
    """
    means = jnp.mean(z, axis=1)
    within = (z - means[:, None]).reshape(-1, z.shape[2])
    between = means - jnp.mean(means, axis=0, keepdims=True)
    inside = within.T @ within / (z.shape[0] * (z.shape[1] - 1)) + REGULARISATION * jnp.eye(z.shape[2], dtype=z.dtype)
    values, vectors = jnp.linalg.eigh(inside)
    whitened = (between @ vectors) * jnp.maximum(values, REGULARISATION)[None] ** -0.5
    p = jnp.linalg.svd(whitened, full_matrices=False, compute_uv=False) ** 2
    p = p / (jnp.sum(p) + 1e-12)
    return jnp.exp(-jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-12)), 0.0)))
