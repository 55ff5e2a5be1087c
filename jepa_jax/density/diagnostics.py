"""Diagnostics of the Jacobian's spectrum from a few products. They rank samples differently from JEPA-SCORE."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from matfree import decomp, eig, stochtrace

from jepa_jax.density.jacobian import Precision, arithmetic, flatten, resolve_mode


def top_singular_values(
    f: Callable[[Any], Array],
    x: Any,
    r: int,
    key: Array,
    *,
    steps: int | None = None,
    precision: Precision = "float32",
    platform: str | None = None,
) -> Array:
    """Compute the r largest singular values of df/dx without the Jacobian.

    **This is a diagnostic: the values are not JEPA-SCORE.**

    Golub and Kahan's bidiagonalisation with full reorthogonalisation (`matfree.decomp.bidiag`), started from a random
    vector.

    Args:
      f: As in `jepa_score`.
      x: As in `jepa_score`.
      r: Number of singular values, 1 .. R with R = min(K, D).
      key: Key of the random start vector.
      steps: Number of bidiagonalisation steps, each of which is one product with J and one with its transpose; None
        uses 2 r + 24, at most R. With too few steps the values are too small, the last ones most.
      precision: As in `jepa_score`.
      platform: As in `jepa_score`.

    Returns:
      Singular values [r], descending. They are NaN where a step finds no new direction at all, as on a multiple of the
      identity.

    Raises:
      ValueError: If r is below 1 or above R, steps is below r or above R, or as in `jacobian`.
    """
    platform = platform or jax.default_backend()
    product, size, rank = _products(f, x, precision, platform)
    steps = min(rank, 2 * r + 24) if steps is None else steps
    if not 1 <= r <= steps <= rank:
        raise ValueError(f"r is {r} and steps {steps}; they must be 1 <= r <= steps <= {rank}")
    # The arrays of matfree have JAX's default dtype, which must equal the dtype of the products.
    with arithmetic(precision, platform), jax.enable_x64(size.dtype == jnp.float64):
        start = jax.random.normal(key, size.shape, size.dtype)
        return eig.svd_partial(decomp.bidiag(steps))(product, start)[1][:r]


def log_frobenius(
    f: Callable[[Any], Array],
    x: Any,
    key: Array,
    samples: int,
    *,
    precision: Precision = "float32",
    platform: str | None = None,
) -> Array:
    """Estimate log |J|_F = 0.5 log sum_r sigma_r^2 from random products.

    **This is a diagnostic: it is not JEPA-SCORE.**

    The estimate is the mean of |J v|^2 over random v with covariance I (Hutchinson; `matfree.stochtrace`), on the
    smaller side of J.

    Args:
      f: As in `jepa_score`.
      x: As in `jepa_score`.
      key: Key of the random vectors.
      samples: Number of products, all computed at once; the error falls as 1 / sqrt(samples).
      precision: As in `jepa_score`.
      platform: As in `jepa_score`.

    Returns:
      A scalar: the natural logarithm of the norm.

    Raises:
      ValueError: If samples is below 1, or as in `jacobian`.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    platform = platform or jax.default_backend()
    product, size, _ = _products(f, x, precision, platform)
    with arithmetic(precision, platform):
        sampler = stochtrace.sampler_sphere(jnp.zeros(size.shape, size.dtype), num=samples)
        squared = stochtrace.estimator_monte_carlo(stochtrace.monte_carlo_frobeniusnorm_squared(), sampler)
        return 0.5 * jnp.log(squared(product, key))


def _products(
    f: Callable[[Any], Array], x: Any, precision: Precision, platform: str
) -> tuple[Callable[[Array], Array], jax.ShapeDtypeStruct, int]:
    """Return v -> J v or v -> v J, whichever takes the shorter vector; the shape of v; and R."""
    flat, v, out = flatten(f, x)
    rank = min(v.size, out.size)
    with arithmetic(precision, platform):
        if resolve_mode("auto", v.size, out.size) == "forward":
            return jax.linearize(flat, v)[1], jax.ShapeDtypeStruct(v.shape, v.dtype), rank
        pull = jax.vjp(flat, v)[1]
        return lambda u: pull(u)[0], out, rank
