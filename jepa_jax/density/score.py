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

EPS = 1e-6  # as in the paper's listing


class Score(NamedTuple):
    """Score of one sample, with the values it is computed from. After `vmap` every field has a leading axis.

    Attributes:
      score: JEPA-SCORE, sum_r log max(sigma_r, eps), in nats.
      clipped: Number of singular values that are at or below eps, or null by construction. If f has `units`, an array
        of the shape of x, these and the other values are those of derivatives by x / units.
      singular_values: Singular values [R], descending and not clipped, with R = min(K, D); None if only their sum was
        requested.
      embedding: The embedding f(x), [K].
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
    """Return the singular values of df/dx at one sample: [R], descending, with R = min(K, D).

    The arguments are those of `jepa_score`.
    """
    platform = platform or jax.default_backend()
    j, _ = _matrix(f, x, mode, chunk, precision, tangent, platform)
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
    """Compute the log-density of one sample that the encoder has learned, up to one constant per encoder.

    score(x) = sum_r log max(sigma_r(J_f(x)), eps). Balestriero, Ballas, Rabbat & LeCun, "Gaussian embeddings: how JEPAs
    secretly learn your data density", arXiv 2510.05949, eq. 5 and its listing.

    Args:
      f: Pure function of one sample that returns an embedding [K]. If it has the method
        `jacobian_factor(x, chunk, platform, memory)`, which returns f(x) and a matrix with the singular values of J,
        they are computed from that matrix: an encoder can be faster than its differentiation.
      x: One sample, floating point: an array of any shape, or a pytree of arrays.
      eps: Lower limit of the singular values; smaller ones are clipped to it.
      mode: As in `jacobian`.
      chunk: As in `jacobian`.
      method: `svd`, `qr` (the sum alone, from a triangular factor, where no singular value can be near eps), `gram64`
        (Gram matrices in float64, fast on GPU), or `auto`. All agree with a float64 decomposition of J to 0.01 nats.
      precision: As in `jacobian`.
      null_directions: Number of output directions that are constant by construction, as on a sphere; each one within
        the R values contributes exactly log(eps) instead of rounding noise. None reads `f.null_directions`, or 0.
      drop_clipped: Whether to omit clipped and null values from the sum, instead of adding log(eps) for each.
      tangent: Orthonormal columns T [D, d]: the result is the score of J T, which is the log-density on a manifold with
        this tangent space. It takes d products instead of min(K, D).
      platform: As in `jacobian`.

    Returns:
      A scalar, in nats; higher is more typical. **Scores of two encoders are not comparable.**

    Raises:
      ValueError: If an argument is unknown or does not fit, or as in `jacobian`.
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
    """Compute the score, clip count, singular values and embedding of one sample.

    The arguments are those of `jepa_score`. If `values` is false the singular values are omitted, which `qr` requires.
    """
    nulls: int = getattr(f, "null_directions", 0) if null_directions is None else null_directions
    platform = platform or jax.default_backend()
    j, z = differentiate(f, x, mode=mode, chunk=chunk, precision=precision, tangent=tangent, platform=platform)
    how = {"null_directions": nulls, "drop_clipped": drop_clipped, "values": values, "platform": platform}
    many = read(j[None], z[None], eps, method=method, log_units=log_units(f, tangent), **how)
    return jax.tree.map(lambda a: a[0], many)


def log_units(f: Any, tangent: Array | None) -> Array | float:
    """Return the sum of the logs of the units [*shape] in which the columns of the Jacobian of f are measured.

    Units keep columns of very different scales within the precision of a decomposition. They change the sum of log
    singular values by this constant if f has at least as many outputs as inputs.
    """
    units = getattr(f, "units", None)
    return 0.0 if units is None or tangent is not None else jnp.sum(jnp.log(units))


def differentiate(
    f: Callable[[Any], Array],
    x: Any,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    precision: Precision = "float32",
    tangent: Array | None = None,
    platform: str | None = None,
    memory: int | None = None,
) -> tuple[Array, Array]:
    """Compute the Jacobian, or a matrix [K, *] with its singular values, and f(x), [K].

    This is the first half of `evaluate`; `memory` is that of `jacobian`.
    """
    platform = platform or jax.default_backend()
    j, z = _matrix(f, x, mode, chunk, precision, tangent, platform, memory)
    with arithmetic(precision, platform):
        return j, f(x) if z is None else z


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
    log_units: Array | float = 0.0,
) -> Score:
    """Compute scores from Jacobians j [B, K, *] and embeddings z [B, K].

    This is the second half of `evaluate`, for many samples.
    """
    if not eps > 0:
        raise ValueError(f"eps is {eps}; it must be positive")
    rank, dim = min(j.shape[1:]), j.shape[1]
    # With K > D the constant directions are among the K - R that J cannot reach anyway.
    null = max(0, rank - (dim - null_directions))
    method = spectrum.resolve_method(method, rank, values=values, platform=platform)
    floor = 0.0 if drop_clipped else math.log(eps)

    def decomposed(method: Method) -> tuple[Array, Array, Array]:
        sigma = spectrum.values_of_many(j, method, platform, null)
        kept = sigma[:, : rank - null]
        log = jnp.where(kept <= eps, floor, jnp.log(kept))  # NaN stays NaN
        return jnp.sum(log, axis=1) + null * floor, jnp.sum(kept <= eps, axis=1) + null, sigma

    if method != "qr":
        score, clipped, sigma = decomposed(method)
        return Score(score - log_units, clipped, sigma if values else None, z)
    volume, bound = jax.vmap(lambda j: spectrum.log_volume(j, null, platform))(j)
    volume = volume + null * floor
    good = bound > eps  # false for NaN

    def mixed() -> tuple[Array, Array]:
        score, clipped, _ = decomposed("svd" if platform == "cpu" else "gram64")
        return jnp.where(good, volume, score), jnp.where(good, null, clipped)

    score, clipped = jax.lax.cond(jnp.all(good), lambda: (volume, jnp.full(len(j), null)), mixed)
    return Score(score - log_units, clipped, None, z)


def _matrix(
    f: Callable[[Any], Array],
    x: Any,
    mode: Mode,
    chunk: int | None,
    precision: Precision,
    tangent: Array | None,
    platform: str,
    memory: int | None = None,
) -> tuple[Array, Array | None]:
    """Return the Jacobian and None; or a matrix with its singular values and f(x), if the encoder provides them."""
    factor = getattr(f, "jacobian_factor", None)
    if factor is not None and tangent is None:
        _, v, out = flatten(f, x)
        if resolve_mode(mode, v.size, out.size) == "reverse" and mode == "auto":
            with arithmetic(precision, platform):
                z, matrix = factor(x, chunk, platform, memory)
                return matrix, z
    how = {"mode": mode, "chunk": chunk, "precision": precision, "tangent": tangent}
    j = jacobian(f, x, **how, platform=platform, memory=memory)
    units = getattr(f, "units", None)
    return j if units is None or tangent is not None else j * units.reshape(1, -1).astype(j.dtype), None
