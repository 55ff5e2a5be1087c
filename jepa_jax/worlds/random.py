"""Worlds that a seed draws, so that a recipe can be tried on data that nobody tuned it for."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from jepa_jax.worlds.world import World, noisy_views

KINDS = ("clusters", "heavy tails", "edges", "thin curve", "manifold", "skewed columns")
CURVE_POINTS = 200


class Law(NamedTuple):
    """Distribution of vectors.

    Attributes:
      draw: Function key -> vector.
      log_density: Function vector -> log-density, in nats.
    """

    draw: Callable[[Array], Array]
    log_density: Callable[[Array], Array]


def kind(seed: int) -> str:
    """Return the kind of the world of a seed; the six kinds follow each other."""
    return KINDS[seed % len(KINDS)]


def make(seed: int) -> World:
    """Return the world of a seed: 2 to 16 dimensions, with columns whose scales differ by up to six decades.

    The kinds are clusters of unequal weight and width, Student's t with three degrees of freedom, boxes with sharp
    edges, a thin curve over a broad background, a curved surface with noise, and correlated columns of which some are
    exponentials. All but the boxes are rotated at random.
    """
    rng, what = np.random.default_rng((seed, 20261126)), kind(seed)
    size = {"thin curve": 2, "edges": int(rng.integers(2, 4)), "manifold": int(rng.integers(4, 11))}.get(
        what, int(rng.integers(2, 17))
    )
    laws = {
        "clusters": lambda: _mixture(*_clusters(rng, size)),
        "heavy tails": lambda: _mixture(*_clusters(rng, size), degrees=3.0),
        "edges": lambda: _boxes(rng, size),
        "thin curve": lambda: _mixture(*_curve(rng)),
        "manifold": lambda: _surface(rng, size),
        "skewed columns": lambda: _skewed(rng, size),
    }
    law = laws[what]()
    if what not in ("edges", "skewed columns"):
        law = _turned(law, _rotation(rng, size))
    law = _scaled(law, 10 ** rng.uniform(-3, 3, size))
    return World(f"random_{seed}", (size,), 0.0, law.draw, law.log_density, noisy_views(0.0))


def _rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def _clusters(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights [C], centres [C, D] and factors [C, D, D] of covariances of unequal clusters."""
    count = int(rng.integers(3, 13))
    weights = 1 / (1 + np.arange(count)) ** rng.uniform(0, 1.2)
    deviations = np.exp(rng.uniform(np.log(0.08), np.log(1.2), (count, size)))
    factors = np.stack([_rotation(rng, size) * deviation for deviation in deviations])
    return weights / weights.sum(), 1.5 * rng.standard_normal((count, size)), factors


def _curve(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a Lissajous curve 0.04 wide as a mixture of short segments, over a broad background."""
    t = 2 * np.pi * (np.arange(CURVE_POINTS) + 0.5) / CURVE_POINTS
    a, b, phase = rng.integers(1, 4), rng.integers(1, 4), rng.uniform(0.3, 1.2)
    points = np.stack([2 * np.sin(a * t), 1.5 * np.sin(b * t + phase)], 1)
    ahead = np.stack([2 * a * np.cos(a * t), 1.5 * b * np.cos(b * t + phase)], 1)
    length = np.linalg.norm(ahead, axis=1)
    along = ahead / length[:, None]
    step = length * 2 * np.pi / CURVE_POINTS
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    factors = np.stack([along * np.maximum(0.7 * step, 0.04)[:, None], across * 0.04], 2)
    weights = step * (1.2 + np.sin(t))
    weights = np.append(0.8 * weights / weights.sum(), 0.2)
    return weights, np.vstack([points, np.zeros(2)]), np.concatenate([factors, 1.8 * np.eye(2)[None]])


def _mixture(weights: np.ndarray, centres: np.ndarray, factors: np.ndarray, degrees: float | None = None) -> Law:
    """Return a mixture of Gaussians, or of Student's t with some degrees of freedom."""
    size = centres.shape[1]
    inverses, volumes = np.linalg.inv(factors), np.linalg.slogdet(factors)[1]
    log_weights, mu, factor, inverse = (
        jnp.asarray(a, jnp.float32) for a in (np.log(weights), centres, factors, inverses)
    )
    log_volumes = jnp.asarray(volumes, jnp.float32)

    def draw(key: Array) -> Array:
        which, where, tail = jax.random.split(key, 3)
        c = jax.random.categorical(which, log_weights)
        e = jax.random.normal(where, (size,))
        if degrees is not None:  # divided by the root of chi-squared over its degrees of freedom
            e = e * jax.lax.rsqrt(2 * jax.random.gamma(tail, degrees / 2) / degrees)
        return mu[c] + factor[c] @ e

    def log_density(x: Array) -> Array:
        square = jnp.sum(jnp.einsum("cij,cj->ci", inverse, x[None] - mu) ** 2, axis=1)
        if degrees is None:
            logs = -0.5 * square - 0.5 * size * jnp.log(2 * jnp.pi)
        else:
            logs = gammaln((degrees + size) / 2) - gammaln(degrees / 2) - 0.5 * size * jnp.log(degrees * jnp.pi)
            logs = logs - 0.5 * (degrees + size) * jnp.log1p(square / degrees)
        return jax.nn.logsumexp(log_weights - log_volumes + logs)

    return Law(draw, log_density)


def _boxes(rng: np.random.Generator, size: int) -> Law:
    """Return boxes in a row that do not overlap, in each of which the density is a product of powers."""
    count = 5
    sides = np.exp(rng.uniform(np.log(0.5), np.log(2), (count, size)))
    low = rng.uniform(-1, 1, (count, size))
    low[:, 0] = np.concatenate([[0], np.cumsum(sides[:-1, 0] + 0.3)])
    weights, powers = rng.dirichlet(np.full(count, 2.0)), rng.uniform(1, 2.5, (count, size))
    log_weights, corner, side, power = (jnp.asarray(a, jnp.float32) for a in (np.log(weights), low, sides, powers))

    def draw(key: Array) -> Array:
        which, where = jax.random.split(key)
        c = jax.random.categorical(which, log_weights)
        return corner[c] + side[c] * jax.random.uniform(where, (size,), minval=1e-6) ** (1 / power[c])

    def log_density(x: Array) -> Array:
        u = (x[None] - corner) / side
        inside = jnp.all((u > -1e-5) & (u < 1 + 1e-5), axis=1)  # to the rounding of a sample
        logs = jnp.log(power / side) + (power - 1) * jnp.log(jnp.clip(u, 1e-9, 1.0))
        return jax.nn.logsumexp(jnp.where(inside, log_weights + jnp.sum(logs, axis=1), -jnp.inf))

    return Law(draw, log_density)


def _surface(rng: np.random.Generator, size: int) -> Law:
    """Return a curved surface of two dimensions with noise of 0.1 in the others: a shear, which keeps volumes."""
    base = _mixture(*_clusters(rng, 2))
    turns = jnp.asarray(0.8 * rng.standard_normal((2, size - 2)), jnp.float32)
    phase = jnp.asarray(rng.uniform(0, 6, size - 2), jnp.float32)

    def height(u: Array) -> Array:
        return 1.2 * jnp.sin(u @ turns + phase)

    def draw(key: Array) -> Array:
        on, off = jax.random.split(key)
        u = base.draw(on)
        return jnp.concatenate([u, height(u) + 0.1 * jax.random.normal(off, (size - 2,))])

    def log_density(x: Array) -> Array:
        e = (x[2:] - height(x[:2])) / 0.1
        return base.log_density(x[:2]) + jnp.sum(jax.scipy.stats.norm.logpdf(e) - jnp.log(0.1))

    return Law(draw, log_density)


def _skewed(rng: np.random.Generator, size: int) -> Law:
    """Return correlated columns of which a third are exponentials."""
    base, count = _mixture(*_clusters(rng, size)), max(1, size // 3)

    def draw(key: Array) -> Array:
        y = base.draw(key)
        return jnp.concatenate([jnp.exp(0.7 * y[:count]), y[count:]])

    def log_density(x: Array) -> Array:
        log = jnp.log(jnp.maximum(x[:count], jnp.finfo(x.dtype).tiny))
        y = jnp.concatenate([log / 0.7, x[count:]])
        return base.log_density(y) - jnp.sum(log + jnp.log(0.7))

    return Law(draw, log_density)


def _turned(law: Law, rotation: np.ndarray) -> Law:
    turn = jnp.asarray(rotation, jnp.float32)
    return Law(lambda key: turn @ law.draw(key), lambda x: law.log_density(x @ turn))


def _scaled(law: Law, scale: np.ndarray) -> Law:
    units = jnp.asarray(scale, jnp.float32)
    volume = float(np.log(scale).sum())
    return Law(lambda key: units * law.draw(key), lambda x: law.log_density(x / units) - volume)
