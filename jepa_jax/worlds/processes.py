"""Series of several sensors in one of a few regimes: a mixture of vector autoregressions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import solve_discrete_lyapunov

from jepa_jax.worlds.world import World, noisy_views

ROWS, TIMES, REGIMES = 8, 16, 4
RADIUS = 0.75  # spectral radius of the matrix of a regime
SHARED = 0.983  # correlation of the matrices of any two regimes, at which the exact posterior finds 93 in 100


def regimes(rows: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices A, the covariances Q of the innovations and the stationary covariances of stable regimes.

    Every sensor has variance 1 in every regime, so that no single number tells them apart.

    Args:
      rows: Number of sensors, R.
      count: Number of regimes.
      seed: Seed of the matrices.

    Returns:
      Three arrays [count, R, R].
    """
    random, found = np.random.default_rng(seed), []
    common = random.standard_normal((2, rows, rows))
    for _ in range(count):
        own, mixed = SHARED**0.5 * common + (1 - SHARED) ** 0.5 * random.standard_normal((2, rows, rows))
        a = RADIUS / np.abs(np.linalg.eigvals(own)).max() * own
        mix = np.eye(rows) + 0.3 * mixed
        noise = mix @ mix.T
        stationary = solve_discrete_lyapunov(a, noise)
        unit = np.diag(stationary) ** -0.5
        found.append((unit[:, None] * a / unit, *(unit[:, None] * m * unit for m in (noise, stationary))))
    a, noise, stationary = (np.stack(parts) for parts in zip(*found, strict=True))
    return a, noise, stationary


def make(noise: float = 0.1, rows: int = ROWS, times: int = TIMES, count: int = REGIMES) -> World:
    """Return the world of series [R, T, 1], whose states are the number of the regime and the numbers of the series.

    p(x) is the mean over regimes of the products of Gaussians of the first values and of the innovations. The class is
    the regime.
    """
    a, inside, start = regimes(rows, count)
    roots = [jnp.asarray(np.linalg.cholesky(m), jnp.float32) for m in (inside, start)]
    step = jnp.asarray(a, jnp.float32)

    def render(state: Array) -> Array:
        return state[1:].reshape(rows, times, 1)

    def log_densities(x: Array) -> Array:
        """Return log p(x | regime) of one series [R, T], for all regimes."""
        innovations = x[None, :, 1:] - step @ x[None, :, :-1]
        return _log_normal(roots[1], jnp.broadcast_to(x[None, :, :1], (count, rows, 1))) + _log_normal(
            roots[0], innovations
        )

    def log_density(state: Array) -> Array:
        return jax.nn.logsumexp(log_densities(render(state)[:, :, 0])) - jnp.log(count)

    def draw(key: Array) -> Array:
        which, key = jax.random.split(key)
        k = jax.random.randint(which, (), 0, count)
        e = jax.random.normal(key, (times, rows), jnp.float32)

        def next_one(x: Array, e: Array) -> tuple[Array, Array]:
            x = step[k] @ x + roots[0][k] @ e
            return x, x

        first = roots[1][k] @ e[0]
        rest = jax.lax.scan(next_one, first, e[1:])[1]
        series = jnp.concatenate([first[None], rest]).T
        return jnp.concatenate([k.astype(jnp.float32)[None], series.reshape(-1)])

    views = noisy_views(noise)
    return World(
        "processes",
        (rows, times, 1),
        noise,
        draw,
        log_density,
        lambda key, state: views(key, render(state)),
        render=render,
        label=lambda state: state[0].astype(jnp.int32),
    )


def _log_normal(root: Array, x: Array) -> Array:
    """Return the log-density of the columns of x [K, R, n] under N(0, L L'), summed over columns, [K]."""
    white = jax.vmap(lambda root, x: jax.scipy.linalg.solve_triangular(root, x, lower=True))(root, x)
    log_det = jnp.sum(jnp.log(jnp.diagonal(root, axis1=1, axis2=2)), axis=1)
    return -0.5 * jnp.sum(white**2, axis=(1, 2)) - x.shape[2] * (log_det + 0.5 * x.shape[1] * jnp.log(2 * jnp.pi))
