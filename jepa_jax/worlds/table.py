"""Table of two columns of categories and six of numbers, whose rows belong to hidden classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.worlds.world import World

CATEGORIES = (3, 4)
NUMBERS, CLASSES = 6, 3


@functools.cache
def _parameters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log pi [classes, *categories], the means [..., 6] and roots of the covariances [..., 6, 6]."""
    random, cells = np.random.default_rng(0), (CLASSES, *CATEGORIES)
    weight = random.dirichlet(np.full(np.prod(cells), 2.0)).reshape(cells)
    mean = 1.2 * random.standard_normal((*cells, NUMBERS))
    mix = 0.5 * (np.eye(NUMBERS) + 0.4 * random.standard_normal((*cells, NUMBERS, NUMBERS)))
    root = np.linalg.cholesky(mix @ np.swapaxes(mix, -1, -2))
    return np.log(weight).astype(np.float32), mean.astype(np.float32), root.astype(np.float32)


def log_joint(x: Array) -> Array:
    """Return the log-density of a row [8] together with each class, [classes]."""
    log_weight, means, roots = map(jnp.asarray, _parameters())
    one, two = x[:2].astype(jnp.int32)
    off, root = x[None, 2:] - means[:, one, two], roots[:, one, two]
    white = jax.vmap(lambda root, off: jax.scipy.linalg.solve_triangular(root, off, lower=True))(root, off)
    log_det = jnp.sum(jnp.log(jnp.diagonal(root, axis1=1, axis2=2)), axis=1)
    logs = -0.5 * jnp.sum(white**2, axis=1) - log_det - 0.5 * NUMBERS * jnp.log(2 * jnp.pi)
    return log_weight[:, one, two] + logs


def make(noise: float = 0.1) -> World:
    """Return the world of rows [8], whose states are a hidden class and the row.

    (class, categories) has a random distribution pi, and the numbers are N(mu, Sigma) of their own for each of its
    values, so that p(x) = sum over classes of pi N, with respect to counts of categories and volumes of numbers. The
    means of a class differ from category to category, so that no linear map of the row finds it. The score of a row is
    along the numbers, which are its tangent space.
    """
    log_weight, means, roots = map(jnp.asarray, _parameters())
    basis = jnp.eye(len(CATEGORIES) + NUMBERS)[:, len(CATEGORIES) :]

    def log_density(state: Array) -> Array:
        return jax.nn.logsumexp(log_joint(state[1:]))

    def draw(key: Array) -> Array:
        which, key = jax.random.split(key)
        cell = jax.random.categorical(which, log_weight.reshape(-1))
        at = jnp.unravel_index(cell, log_weight.shape)
        numbers = means[at] + roots[at] @ jax.random.normal(key, (NUMBERS,), jnp.float32)
        return jnp.concatenate([jnp.stack(at).astype(jnp.float32), numbers])

    def views(key: Array, state: Array) -> tuple[Array, Array]:
        e = noise * (jax.random.normal(key, (2, NUMBERS), state.dtype) @ basis.T)
        return state[1:] + e[0], state[1:] + e[1]

    return World(
        "table",
        (len(CATEGORIES) + NUMBERS,),
        noise,
        draw,
        log_density,
        views,
        render=lambda state: state[1:],
        tangent=lambda state: basis,
        manifold_dim=NUMBERS,
        label=lambda state: state[0].astype(jnp.int32),
        categories=(*CATEGORIES, *[0] * NUMBERS),
    )
