"""Interface of synthetic worlds: datasets whose samples have an exact log-density."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclass(frozen=True)
class World:
    """A synthetic dataset with an exact log-density. All functions act on one sample.

    A sample is made in two steps: `draw(key)` returns its *state*, and `render(state)` the sample x. For worlds in
    Euclidean space the state is x itself; for image worlds it is the latents, since the image cannot be inverted.

    Attributes:
      name: Name of the world in the data grammar.
      shape: Shape of one sample.
      noise: Standard deviation of the Gaussian noise that each view adds to x.
      draw: Function key -> state.
      log_density: Function state -> log p(x), in nats, with respect to Lebesgue measure, or to the surface measure of
        the manifold if x lies on one (`manifold_dim` < D).
      views: Function (key, state) -> two views of the sample, each of shape `shape`.
      render: Function state -> x.
      log_density_smoothed: Function state -> log of the density convolved with the noise of one view, or None if it has
        no closed form.
      tangent: Function state -> orthonormal basis [D, manifold_dim] of the manifold's tangent space at x.
      manifold_dim: Dimension of the set that the samples lie on; None means D.
      extent: For plots of 2-D worlds: (low, high) of a square that contains nearly all the mass.
      label: Function state -> class of the sample, a whole number from 0, or None if samples have no class.
      condition: Function state -> numbers [C] that are known when the second view is predicted from the first, such as
        a command; or None.
      categories: Number of categories of each input number, 0 for a continuous one; () if all are continuous. A
        category is a whole number from 0.
    """

    name: str
    shape: tuple[int, ...]
    noise: float
    draw: Callable[[Array], Array]
    log_density: Callable[[Array], Array]
    views: Callable[[Array, Array], tuple[Array, Array]]
    render: Callable[[Array], Array] = lambda state: state
    log_density_smoothed: Callable[[Array], Array] | None = None
    tangent: Callable[[Array], Array] | None = None
    manifold_dim: int | None = None
    extent: tuple[float, float] | None = None
    label: Callable[[Array], Array] | None = None
    condition: Callable[[Array], Array] | None = None
    categories: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Let `log_density` refuse a batch, over which some densities would sum without a word."""
        object.__setattr__(self, "log_density", _of_one_state(self.log_density, self.draw))

    def sample(self, key: Array | int, n: int) -> tuple[Array, Array]:
        """Draw n samples and return (x [n, *shape], states [n, ...]); the key may be an integer, as a seed."""
        if isinstance(key, int):
            key = jax.random.key(key)
        states = jax.vmap(self.draw)(jax.random.split(key, n))
        return jax.vmap(self.render)(states), states


def _of_one_state(log_density: Callable[[Array], Array], draw: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a log-density that raises ValueError if its argument has another shape than a state."""

    @functools.cache
    def expected() -> tuple[int, ...]:
        return jax.eval_shape(draw, jax.eval_shape(lambda: jax.random.key(0))).shape

    @functools.wraps(log_density)
    def checked(state: Array) -> Array:
        if jnp.shape(state) != expected():
            raise ValueError(
                f"log_density takes one state of shape {list(expected())}, not {list(jnp.shape(state))}; for a batch, "
                "jax.vmap(world.log_density)(xs)"
            )
        return log_density(state)

    return checked


def noisy_views(noise: float) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Return a function that makes the views x + noise * e1 and x + noise * e2 with independent standard normal e."""

    def views(key: Array, x: Array) -> tuple[Array, Array]:
        e = noise * jax.random.normal(key, (2, *x.shape), x.dtype)
        return x + e[0], x + e[1]

    return views


def ornstein_uhlenbeck(key: Array, u: Array, rho: float) -> Array:
    """Take one step of the stationary process of N(0, I): rho u + sqrt(1 - rho^2) e (arXiv 2605.26379)."""
    return rho * u + jnp.sqrt(1 - rho**2) * jax.random.normal(key, u.shape, u.dtype)


def log_normal(x: Array, variance: float | Array = 1.0) -> Array:
    """Return log N(x; 0, variance I) of one vector [D], in nats."""
    return -0.5 * jnp.sum(x**2) / variance - 0.5 * x.size * jnp.log(2 * jnp.pi * variance)


def pushforward(
    name: str,
    forward: Callable[[Array], Array],
    inverse: Callable[[Array], tuple[Array, Array]],
    dim: int,
    noise: float,
    rho: float,
    extent: tuple[float, float] | None,
) -> World:
    """Return the world of Gaussian latents mapped through an invertible function g.

    Pairs are stationary: view 1 is x = g(u), and view 2 is g of an Ornstein-Uhlenbeck step of u, each plus noise.

    Args:
      name: Name of the world.
      forward: Function g: u [D] -> x [D].
      inverse: Function x [D] -> (u [D], log |det du/dx|).
      dim: D.
      noise: Standard deviation of the Gaussian noise of each view.
      rho: Correlation of the latents of a pair.
      extent: As in `World`.
    """

    def log_density(x: Array) -> Array:
        u, log_det = inverse(x)
        return log_normal(u) + log_det

    def views(key: Array, x: Array) -> tuple[Array, Array]:
        step, noise_key = jax.random.split(key)
        other = forward(ornstein_uhlenbeck(step, inverse(x)[0], rho))
        e = noise * jax.random.normal(noise_key, (2, dim), x.dtype)
        return x + e[0], other + e[1]

    def draw(key: Array) -> Array:
        return forward(jax.random.normal(key, (dim,)))

    return World(name, (dim,), noise, draw, log_density, views, extent=extent)


def noisy_curve(
    name: str,
    curve: Callable[[Array], Array],
    width: float,
    noise: float,
    extent: tuple[float, float],
    pieces: int = 1,
    nodes: int = 256,
) -> World:
    """Return the world of points curve(t), t uniform on [0, 1), plus Gaussian noise of standard deviation `width`.

    The density is the integral of N(x; curve(t), width^2 I) over t, by Gauss-Legendre quadrature on each of the
    `pieces` equal parts of [0, 1) on which the curve is smooth. With nodes a fraction of `width` apart its error is
    below float32 rounding. (The error of the midpoint rule is not: the ends of a curve add an error of order h^2.)
    """
    node, weight = np.polynomial.legendre.leggauss(nodes)
    t = (np.arange(pieces)[:, None] + 0.5 * (node + 1)) / pieces
    centres = jax.jit(jax.vmap(curve))(jnp.asarray(t.ravel(), jnp.float32))  # [pieces * nodes, 2]
    log_weights = jnp.asarray(np.log(np.tile(weight / 2 / pieces, pieces)), jnp.float32)

    def log_density(x: Array, variance: float) -> Array:
        logs = jax.vmap(lambda c: log_normal(x - c, variance))(centres)
        return jax.nn.logsumexp(logs + log_weights)

    def draw(key: Array) -> Array:
        where, off = jax.random.split(key)
        return curve(jax.random.uniform(where)) + width * jax.random.normal(off, (2,))

    return World(
        name,
        (2,),
        noise,
        draw,
        partial(log_density, variance=width**2),
        noisy_views(noise),
        log_density_smoothed=partial(log_density, variance=width**2 + noise**2),
        extent=extent,
    )
