"""Shapes of the components of a mixture on the line: normal distributions, and boxes with soft edges."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr, ndtr
from jax.scipy.stats import norm

LOG_EDGE_BOUNDS = (-6.0, 2.0)  # of the deviation of an edge over half the width; at the upper one a box is all edge
LOG_EDGE_START = -1.0
RAMP_SWITCH = -4.0  # below it the integral of the normal distribution function is computed from a continued fraction
FRACTION_TERMS = 24  # of the fraction, whose error at the switch is that of float32
LARGEST_EXPONENT = 60.0  # of ratios in tails, where two logs of billions are subtracted


class Law(NamedTuple):
    """Logs of the distribution function, of one minus it, and of the density; all fields have one shape."""

    log_cdf: Array
    log_survival: Array
    log_pdf: Array


def normal(off: Array, log_width: Array, log_edge: Array | None = None) -> Law:
    """Return the law of N(0, w^2) at `off`, where w = exp(log_width)."""
    del log_edge
    t = off * jnp.exp(-log_width)
    return Law(log_ndtr(t), log_ndtr(-t), norm.logpdf(t) - log_width)


def box(off: Array, log_width: Array, log_edge: Array | None) -> Law:
    """Return the law of U(-w, w) + N(0, s^2) at `off`, where w = exp(log_width) and s = w exp(log_edge).

    Mixtures of normal distributions need many narrow components at an edge of the data, and these have it in one.
    """
    assert log_edge is not None
    log_edge = jnp.clip(log_edge, *LOG_EDGE_BOUNDS)
    return Law(
        box_log_cdf(off, log_width, log_edge),
        box_log_cdf(-off, log_width, log_edge),
        _box_log_pdf(off, log_width, log_edge),
    )


def _box_log_pdf(off: Array, log_width: Array, log_edge: Array) -> Array:
    t, steep = -jnp.abs(off) * jnp.exp(-log_width), jnp.exp(-log_edge)
    above, below = log_ndtr((t + 1) * steep), log_ndtr((t - 1) * steep)
    return above + jnp.log1p(-jnp.exp(jnp.minimum(below - above, -1e-6))) - jnp.log(2.0).astype(t.dtype) - log_width


@jax.custom_jvp
def box_log_cdf(off: Array, log_width: Array, log_edge: Array) -> Array:
    """Return the log of the distribution function of `box`; its derivative is exactly that of `log_pdf`."""
    t, steep = -jnp.abs(off) * jnp.exp(-log_width), jnp.exp(-log_edge)
    above, below = _log_ramp((t + 1) * steep), _log_ramp((t - 1) * steep)
    lower = log_edge - jnp.log(2.0).astype(t.dtype) + above + jnp.log1p(-jnp.exp(jnp.minimum(below - above, -1e-6)))
    return jnp.where(off <= 0, lower, jnp.log1p(-jnp.exp(jnp.minimum(lower, jnp.log(0.5).astype(t.dtype)))))


@box_log_cdf.defjvp
def _(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    off, log_width, log_edge = primals
    log_cdf = box_log_cdf(off, log_width, log_edge)

    def over_cdf(log_value: Array) -> Array:
        return jnp.exp(jnp.minimum(log_value - log_cdf, LARGEST_EXPONENT))

    slope = over_cdf(_box_log_pdf(off, log_width, log_edge))
    t, steep = off * jnp.exp(-log_width), jnp.exp(-log_edge)
    left, right = (log_edge + norm.logpdf((t + side) * steep) for side in (1, -1))
    by_edge = 0.5 * (over_cdf(left) - over_cdf(right))
    return log_cdf, slope * (tangents[0] - off * tangents[1]) + by_edge * tangents[2]


def _log_ramp(t: Array) -> Array:
    """Return the log of t Phi(t) + phi(t), the integral of Phi up to t."""
    near = jnp.maximum(t, RAMP_SWITCH)
    x, tail = jnp.maximum(-t, -RAMP_SWITCH), 0.0
    for k in range(FRACTION_TERMS, 1, -1):  # Phi(-x) / phi(x) = 1 / (x + 1 / (x + 2 / (x + ...)))
        tail = k / (x + tail)
    inner = 1 / (x + tail)
    far = norm.logpdf(x) + jnp.log(inner / (x + inner))
    return jnp.where(t < RAMP_SWITCH, far, jnp.log(near * ndtr(near) + jnp.exp(norm.logpdf(near))))


KERNELS: dict[str, Callable[[Array, Array, Array | None], Law]] = {"normal": normal, "box": box}
