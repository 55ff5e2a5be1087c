"""JEPA-SCORE of one sample: the sum of the log singular values of the encoder's Jacobian."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.density import spectrum
from jepa_jax.density.jacobian import Mode, Precision, arithmetic, flatten, jacobian, resolve_mode
from jepa_jax.density.spectrum import Method

EPS = 1e-6  # the paper's listing


class Score(NamedTuple):
    """What scoring one sample gives (a leading axis each after `vmap`).

    Attributes:
      score: JEPA-SCORE, sum_r log max(sigma_r, eps), in nats.
      clipped: how many singular values are at or below eps, or null by construction.
      singular_values: [R], descending, R = min(K, D), not clipped; None where only their sum was asked for.
      embedding: f(x), [K].
    """

    score: Array
    clipped: Array
    singular_values: Array | None
    embedding: Array


def singular_values(
    f: Callable[[Any], Array],
    x: Any,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    method: Method = "auto",
    precision: Precision = "float32",
    tangent: Array | None = None,
    platform: str | None = None,
) -> Array:
    """Singular values of df/dx at one sample: [R], descending, R = min(K, D). Arguments as in `jepa_score`."""
    platform = platform or jax.default_backend()
    j = _matrix(f, x, mode, chunk, precision, tangent, platform)
    resolved = spectrum.resolve_method(method, min(j.shape), values=True, platform=platform)
    return spectrum.values(j, resolved, platform)


def jepa_score(
    f: Callable[[Any], Array],
    x: Any,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    method: Method = "auto",
    precision: Precision = "float32",
    null_directions: int | None = None,
    drop_clipped: bool = False,
    tangent: Array | None = None,
    platform: str | None = None,
) -> Array:
    """The log-density of one sample that the encoder has learned, up to one constant per encoder.

    score(x) = sum_r log max(sigma_r(J_f(x)), eps). Balestriero, Ballas, Rabbat & LeCun, "Gaussian embeddings: how
    JEPAs secretly learn your data density", arXiv 2510.05949, eq. 5 and its listing.

    Args:
      f: one sample -> [K]; pure. One with a method `jacobian_factor(x, chunk, platform)` is asked for that instead: a
        matrix with the singular values of J, which an encoder can compute faster than by differentiating itself.
      x: one sample, floating point: an array of any shape, or a pytree of arrays.
      eps: smallest singular value that counts as itself.
      mode, chunk, precision, platform: as in `jacobian`.
      method: `svd`, `qr` (from R of a QR decomposition alone where no singular value can be near eps), `gram64` (Gram
        matrices in float64, fast on GPU), or `auto`. All agree with a float64 decomposition of J to 0.01 nats.
      null_directions: output directions that are constant by construction, as on a sphere; each one within the
        R values contributes exactly log(eps) instead of rounding noise. None reads `f.null_directions`, or 0.
      drop_clipped: leave clipped and null values out of the sum, instead of log(eps) for each.
      tangent: T [D, d], orthonormal columns: the score of J T, which is that of the density on a manifold with this
        tangent space. d products instead of min(K, D).

    Returns:
      A scalar, in nats; higher is more typical. **Scores of two encoders are not comparable.**

    Raises:
      ValueError: as `jacobian`, or an argument is unknown or does not fit.
    """
    return evaluate(
        f,
        x,
        eps,
        mode=mode,
        chunk=chunk,
        method=method,
        precision=precision,
        null_directions=null_directions,
        drop_clipped=drop_clipped,
        tangent=tangent,
        values=False,
        platform=platform,
    ).score


def evaluate(
    f: Callable[[Any], Array],
    x: Any,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    method: Method = "auto",
    precision: Precision = "float32",
    null_directions: int | None = None,
    drop_clipped: bool = False,
    tangent: Array | None = None,
    values: bool = True,
    platform: str | None = None,
) -> Score:
    """Score, clip count, singular values and embedding of one sample. Arguments as in `jepa_score`.

    With `values` false the singular values are left out, which `qr` needs.
    """
    nulls: int = getattr(f, "null_directions", 0) if null_directions is None else null_directions
    platform = platform or jax.default_backend()
    j, z = differentiate(f, x, mode=mode, chunk=chunk, precision=precision, tangent=tangent, platform=platform)
    how = {"null_directions": nulls, "drop_clipped": drop_clipped, "values": values, "platform": platform}
    return read(j, z, eps, method=method, **how)


def differentiate(
    f: Callable[[Any], Array],
    x: Any,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    precision: Precision = "float32",
    tangent: Array | None = None,
    platform: str | None = None,
) -> tuple[Array, Array]:
    """The first half of `evaluate`: the Jacobian, or a matrix with its singular values, [K, *], and f(x), [K]."""
    platform = platform or jax.default_backend()
    j = _matrix(f, x, mode, chunk, precision, tangent, platform)
    with arithmetic(precision, platform):
        return j, f(x)


def read(
    j: Array,
    z: Array,
    eps: float,
    *,
    method: Method,
    null_directions: int,
    drop_clipped: bool,
    values: bool,
    platform: str,
) -> Score:
    """The second half of `evaluate`: from the Jacobian j [K, *] and the embedding z [K] to the score."""
    if not eps > 0:
        raise ValueError(f"eps is {eps}; it must be positive")
    rank, dim = min(j.shape), j.shape[0]
    # With K > D the constant directions are among the K - R that J cannot reach anyway.
    null = max(0, rank - (dim - null_directions))
    method = spectrum.resolve_method(method, rank, values=values, platform=platform)
    floor = 0.0 if drop_clipped else math.log(eps)

    def total(sigma: Array) -> tuple[Array, Array]:
        kept = sigma[: rank - null]
        log = jnp.where(kept <= eps, floor, jnp.log(kept))  # what is not a number stays so
        return jnp.sum(log) + null * floor, jnp.sum(kept <= eps) + null

    if method != "qr":
        sigma = spectrum.values(j, method, platform)
        score, clipped = total(sigma)
        return Score(score, clipped, sigma if values else None, z)
    if null:
        raise ValueError(f"method qr cannot tell {null} null directions from the rest; use svd or gram64")
    volume, bound, triangle = spectrum.log_volume(j)
    score, clipped = jax.lax.cond(  # a NaN bound goes to the singular values too, and comes out as NaN
        bound > eps,
        lambda: (volume, jnp.sum(volume * 0 > 1)),
        lambda: total(spectrum.values(triangle, "svd", platform).astype(j.dtype)),
    )
    return Score(score, clipped, None, z)


def _matrix(
    f: Callable[[Any], Array],
    x: Any,
    mode: Mode,
    chunk: int | None,
    precision: Precision,
    tangent: Array | None,
    platform: str,
) -> Array:
    """The Jacobian, or what the encoder offers in its place: a matrix with the same singular values."""
    factor = getattr(f, "jacobian_factor", None)
    if factor is not None and tangent is None:
        _, v, out = flatten(f, x)
        if resolve_mode(mode, v.size, out.size) == "reverse" and mode == "auto":
            with arithmetic(precision, platform):
                return factor(x, chunk, platform)
    return jacobian(f, x, mode=mode, chunk=chunk, precision=precision, tangent=tangent, platform=platform)
