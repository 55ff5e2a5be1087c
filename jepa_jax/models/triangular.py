"""Triangular map that cannot fold: each coordinate goes through a mixture CDF that depends on those before it."""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.scipy.special import log_ndtr, logsumexp, ndtri
from jax.scipy.stats import norm

from jepa_jax.models.components import KERNELS, LOG_EDGE_BOUNDS, LOG_EDGE_START, Law

LOG_WIDTH_BOUND = 8.0  # a component is at least exp(-8) and at most exp(8) deviations wide
BISECTIONS = 64  # of the interval in which a quantile lies, to float64 rounding
NEWTON_STEPS = 4  # from the starting values below, to float64 rounding
LEAST_START_WIDTH = 1e-2  # in deviations; quantiles that are equal have no spacing
INPUT_BOUND = 10.0  # deviations; the network sees no coordinate beyond it
SWITCH = -5.0  # log-probability below which the normal quantile starts from its asymptotic form


class Triangular(nnx.Module):
    """Conditional mixtures of D coordinates, whose parameters come from one masked network.

    Germain et al., "MADE: masked autoencoder for distribution estimation", arXiv 1502.03509, section 4, with mixtures
    of normal distributions, or of boxes, as conditionals. The last layer starts at zero, so that training starts from
    independent mixtures whose components lie at the quantiles of the data.
    """

    def __init__(
        self,
        size: int,
        widths: tuple[int, ...],
        components: int,
        order: str,
        quantiles: Array | None = None,
        *,
        kernel: str = "normal",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Draw the weights of the hidden layers, and place the components.

        Args:
          size: Number of coordinates, D.
          widths: Widths of the hidden layers.
          components: Number of components of each mixture, M.
          order: `identity`, `reversed`, `permuted` or `rotated`.
          quantiles: Quantiles of the standardised data [Q, D], at (q + 1/2) / Q; None for those of N(0, I), which a
            rotated map takes too.
          kernel: Shape of the components, a key of `KERNELS`.
          dropout: Probability with which training drops a hidden unit, for each sample anew.
          rngs: Keys of the weights and of a permuted order.
        """
        self.size, self.widths, self.components, self.dropout = size, widths, components, dropout
        self.kernel, self.numbers = kernel, 4 if kernel == "box" else 3  # numbers of a component
        sizes = (size, *widths)
        for i in range(len(widths)):
            setattr(self, f"dense_{i}", nnx.Linear(sizes[i], sizes[i + 1], rngs=rngs))
        zeros = nnx.initializers.zeros_init()
        self.head = nnx.Linear(
            sizes[-1], self.numbers * size * components, use_bias=False, kernel_init=zeros, rngs=rngs
        )
        self.direct = nnx.Linear(size, self.numbers * size * components, use_bias=False, kernel_init=zeros, rngs=rngs)
        places = np.arange(size)[::-1] if order == "reversed" else np.arange(size)
        drawn = jax.random.permutation(rngs.params(), size) if order == "permuted" else places
        # A parameter without a gradient, so that it is kept with the weights.
        self.order = nnx.Param(jnp.asarray(drawn, jnp.float32))
        self.rotation = nnx.Param(_rotation(rngs.params(), size)) if order == "rotated" else None
        self.start = nnx.Param(self._start(None if order == "rotated" else quantiles))

    def _start(self, quantiles: Array | None) -> Array:
        """Return the first mixtures, [D * numbers * M]: components at quantiles of the data, of their spacing."""
        levels = jnp.asarray((np.arange(self.components) + 0.5) / self.components, jnp.float32)
        if quantiles is None:
            at = jnp.broadcast_to(ndtri(levels)[:, None], (self.components, self.size))
        else:
            known = jnp.asarray((np.arange(len(quantiles)) + 0.5) / len(quantiles), jnp.float32)
            at = jax.vmap(lambda column: jnp.interp(levels, known, column), 1, 1)(quantiles)[:, self._order()]
        if self.components > 1:
            gaps = jnp.diff(at, axis=0)
            width = 0.5 * (jnp.concatenate([gaps[:1], gaps]) + jnp.concatenate([gaps, gaps[-1:]]))
        else:
            width = jnp.ones_like(at)
        start = [jnp.zeros_like(at), at, jnp.log(jnp.maximum(width, LEAST_START_WIDTH))]
        start += [jnp.full_like(at, LOG_EDGE_START)] * (self.numbers - 3)
        return jnp.stack(start).transpose(2, 0, 1).reshape(-1)

    def __call__(self, x: Array, key: Array | None = None) -> Law:
        """Return the mixture of each coordinate [D], given those before it, at one standardised sample [D].

        The coordinates are in their order.

        Args:
          x: Sample.
          key: Key by which hidden units are dropped in training; None drops none.
        """
        y = x[self._order()]
        if self.rotation is not None:
            y = jax.lax.stop_gradient(self.rotation[...]) @ y
        weights, means, *widths = self._components(y, key)
        each = KERNELS[self.kernel](y[:, None] - means, *widths)
        return Law(*(logsumexp(weights + part, axis=-1) for part in each))

    def inverse(self, u: Array) -> Array:
        """Return the standardised sample [D] whose distribution functions are u [D], each strictly within (0, 1)."""

        def place(i: Array, y: Array) -> Array:
            # What conditions coordinate i is known: the coordinates before it, and nothing else is read.
            weights, means, *widths = (part[i] for part in self._components(y))
            return y.at[i].set(mixture_quantile(u[i], weights, means, *widths, kernel=self.kernel))

        y = jax.lax.fori_loop(0, self.size, place, jnp.zeros_like(u))
        if self.rotation is not None:
            y = self.rotation[...].T @ y
        return jnp.zeros_like(y).at[self._order()].set(y)

    def _components(self, y: Array, key: Array | None = None) -> tuple[Array, ...]:
        """Return log-weights, means, log-widths and for boxes log-edges [D, M], given the coordinates in order [D]."""
        h = bounded(y)
        for i, mask in enumerate(self._masks()):
            layer = getattr(self, f"dense_{i}")
            h = jax.nn.gelu(h @ (layer.kernel * mask) + layer.bias)
            if key is not None and self.dropout > 0:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - self.dropout, h.shape)
                h = jnp.where(kept, h / (1 - self.dropout), 0.0)
        out = h @ (self.head.kernel * self._head_mask()) + self.start[...]
        out += bounded(y) @ (self.direct.kernel * self._direct_mask())
        logits, means, log_widths, *edges = out.reshape(self.size, self.numbers, self.components).transpose(1, 0, 2)
        log_widths = jnp.clip(log_widths, -LOG_WIDTH_BOUND, LOG_WIDTH_BOUND)
        return jax.nn.log_softmax(logits, axis=-1), means, log_widths, *edges

    def _order(self) -> Array:
        return jax.lax.stop_gradient(self.order[...]).astype(jnp.int32)

    def _degrees(self, width: int) -> np.ndarray:
        """Return the number of coordinates on which each unit of a hidden layer may depend, from 1 to D - 1."""
        return 1 + np.arange(width) % max(1, self.size - 1)

    def _masks(self) -> list[np.ndarray]:
        """Return the masks of the hidden layers: a unit reads those of at most its own degree."""
        degrees = [np.arange(1, self.size + 1), *(self._degrees(width) for width in self.widths)]
        return [(below[:, None] <= above[None]).astype(np.float32) for below, above in itertools.pairwise(degrees)]

    def _head_mask(self) -> np.ndarray:
        """Return the mask of the last layer: coordinate i reads units of degree below i."""
        coordinate = np.repeat(np.arange(1, self.size + 1), self.numbers * self.components)
        return (self._degrees(self.widths[-1])[:, None] < coordinate[None]).astype(np.float32)

    def _direct_mask(self) -> np.ndarray:
        """Return the mask of the linear path: coordinate i reads the coordinates before it."""
        coordinate = np.repeat(np.arange(self.size), self.numbers * self.components)
        return (np.arange(self.size)[:, None] < coordinate[None]).astype(np.float32)


def _rotation(key: Array, size: int) -> Array:
    """Return a random rotation [D, D]."""
    with jax.numpy_dtype_promotion("standard"):
        return jax.random.orthogonal(key, size)


def bounded(y: Array) -> Array:
    """Return y / sqrt(1 + (y / INPUT_BOUND)^2), nearly y within a few deviations and bounded for outliers."""
    return y * jax.lax.rsqrt(1 + (y / INPUT_BOUND) ** 2)


def mixture_quantile(
    u: Array, log_weights: Array, means: Array, log_widths: Array, log_edges: Array | None = None, *, kernel: str
) -> Array:
    """Return the y at which a mixture of M components has the distribution function u, by bisection.

    Args:
      u: Probability, strictly within (0, 1).
      log_weights: Logs of the weights of the components, [M].
      means: Means of the components, [M].
      log_widths: Logs of the widths of the components, [M].
      log_edges: Logs of the deviations of the edges of boxes over their widths, [M].
      kernel: Shape of the components, a key of `KERNELS`.
    """
    # The quantile of a mixture lies between the smallest and the largest quantile of its components.
    widths = jnp.exp(log_widths)
    if log_edges is None:
        lowest = highest = means + widths * ndtri(u)
    else:  # that of a box lies within its half width of that of its edge
        middle = means + widths * jnp.exp(jnp.clip(log_edges, *LOG_EDGE_BOUNDS)) * ndtri(u)
        lowest, highest = middle - widths, middle + widths
    low_side, log_u = u < 0.5, jnp.log(jnp.minimum(u, 1 - u))

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        each = KERNELS[kernel](middle - means, log_widths, log_edges)
        tail = logsumexp(log_weights + jnp.where(low_side, each.log_cdf, each.log_survival))  # the nearer one is exact
        below = (tail < log_u) == low_side
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (lowest.min(), highest.max()))
    return 0.5 * (low + high)


def on_cube(mixtures: Law) -> Array:
    """Return the distribution functions [D], in (0, 1)."""
    low = mixtures.log_cdf < mixtures.log_survival
    return jnp.where(low, jnp.exp(mixtures.log_cdf), -jnp.expm1(mixtures.log_survival))


def on_torus(mixtures: Law) -> Array:
    """Return cosines and sines of 2 pi u, divided by sqrt(D): points [2 D] of the unit sphere, for u on the cube."""
    angle = 2 * jnp.pi * on_cube(mixtures)
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)]) / len(angle) ** 0.5


def on_normal(mixtures: Law) -> Array:
    """Return the normal quantiles [D] of the distribution functions."""
    return normal_quantile(mixtures.log_cdf, mixtures.log_survival)


# Functions from the mixtures at a sample to its embedding.
OUTPUTS: dict[str, Callable[[Law], Array]] = {"cube": on_cube, "torus": on_torus, "gaussian": on_normal}


def log_volume_to(output: str, mixtures: Law) -> Array:
    """Return the log of the factor by which volumes grow from the standardised sample to an output, in nats.

    The Jacobian of the map to the cube is triangular with the densities on its diagonal.
    """
    log_pdf, size = jnp.sum(mixtures.log_pdf), len(mixtures.log_pdf)
    if output == "gaussian":
        return log_pdf - jnp.sum(norm.logpdf(on_normal(mixtures)))
    return log_pdf + (size * math.log(2 * math.pi / size**0.5) if output == "torus" else 0.0)


@jax.custom_jvp
def normal_quantile(log_cdf: Array, log_survival: Array) -> Array:
    """Return the z at which the standard normal distribution has these log-probabilities below and above it.

    The smaller of the two determines z, so that both tails are exact. Newton's method solves log Phi(z) = log p.
    """
    low = jnp.minimum(log_cdf, log_survival)
    far = jnp.minimum(low, SWITCH)
    asymptotic = -jnp.sqrt(-2 * far - jnp.log(-2 * far) - jnp.log(2 * jnp.pi))
    z = jnp.where(low < SWITCH, asymptotic, ndtri(jnp.exp(jnp.maximum(low, SWITCH))))
    for _ in range(NEWTON_STEPS):
        log_p = log_ndtr(z)
        z = z - (log_p - low) * jnp.exp(log_p - norm.logpdf(z))
    return jnp.where(log_cdf < log_survival, z, -z)


@normal_quantile.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_cdf, log_survival = primals
    z = normal_quantile(log_cdf, log_survival)
    below = log_cdf < log_survival
    slope = jnp.exp(jnp.where(below, log_cdf, log_survival) - norm.logpdf(z))
    return z, slope * jnp.where(below, tangents[0], -tangents[1])
