"""Estimate of the score that is cheaper than JEPA-SCORE, with its measured error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from jepa_jax.density.batches import score_batches
from jepa_jax.density.jacobian import flatten
from jepa_jax.density.score import EPS, jepa_score

MIN_PILOT_SAMPLES = 8  # with fewer, neither the fit nor its error is meaningful
BOOTSTRAP_RESAMPLES = 2000  # resamples of the pilot, for the interval of the rank correlation


class SketchResult(NamedTuple):
    """Estimates of the score, their rank agreement with the exact score, and their standard error.

    `print(result)` shows everything except the estimates.

    Attributes:
      estimate: Estimates [N] as float64, in nats, for every sample, including those of the pilot.
      standard_error: Standard error of one estimate, in nats: the root mean square over the pilot of (exact -
        estimate), where each estimate is from a fit that left this sample out.
      spearman: Rank correlation of sketch and exact score over the pilot, before any fit. The fit keeps the ranks,
        unless the correlation is negative, in which case the sketch must not be trusted. NaN where either score is
        constant.
      spearman_interval: Bootstrap 95 % interval (low, high) of the rank correlation.
      directions: Number of random directions, p.
      pilot: Number of samples that were scored exactly.
    """

    estimate: np.ndarray
    standard_error: float
    spearman: float
    spearman_interval: tuple[float, float]
    directions: int
    pilot: int

    def __str__(self) -> str:
        """Describe the quality of the estimate in two sentences."""
        low, high = self.spearman_interval
        ranks = f"Spearman's rank correlation is {self.spearman:.3f} (95 % interval {low:.3f} to {high:.3f})"
        if np.isnan(self.spearman):
            ranks = "the scores are constant, so the rank correlation is undefined"
        return (
            f"This is an estimate from {self.directions} random directions of the embedding, not the score itself. "
            f"On {self.pilot} samples that were also scored exactly, {ranks}, and the standard error of an estimate is "
            f"{self.standard_error:.2g} nats."
        )


def random_directions(key: Array, p: int, dim: int) -> Array:
    """Draw p orthonormal directions [p, K] of the embedding, uniform among all such sets, with K = dim.

    Raises:
      ValueError: If p is below 1 or above K.
    """
    if not 1 <= p <= dim:
        raise ValueError(f"p is {p}; for this encoder it must be 1 .. {dim}")
    return jnp.linalg.qr(jax.random.normal(key, (dim, p), jnp.float32))[0].T


def sketch_score(f: Callable[[Any], Array], x: Any, directions: Array, eps: float = EPS, **options: Any) -> Array:
    """Sum the log singular values of P J for some directions P of the embedding: p products instead of K.

    **This is not JEPA-SCORE, and not on its scale**: `calibrated_sketch` maps it to that scale and measures the
    remaining error. With p = K the two are equal, since a rotation of the output changes nothing. Where D <= p it is no
    cheaper.

    Args:
      f: As in `jepa_score`.
      x: As in `jepa_score`.
      directions: P [p, K], orthonormal rows (`random_directions`); the same for all samples that are to be compared.
      eps: As in `jepa_score`.
      **options: As in `jepa_score`.
    """
    return jepa_score(lambda x: _project(f, directions, x), x, eps, **options)


def calibrated_sketch(
    f: Callable[[Any], Array], xs: Any, p: int, key: Array, *, pilot: int = 64, eps: float = EPS, **options: Any
) -> SketchResult:
    """Estimate many scores: sketch all samples, and calibrate the sketch on a few samples that are also scored exactly.

    The map from sketch to score is a straight line, fitted to the pilot by least squares. On a bent random map with K =
    32, p = K/8 ranked with Spearman 0.91, K/3 with 0.97, 3K/4 with 0.99 (LOG.md); encoders differ, so the result
    includes its own rank agreement and standard error, measured on the pilot. Stochastic Lanczos quadrature ranked
    worse at every number of products.

    Args:
      f: As in `score_samples`.
      xs: As in `score_samples`.
      p: Number of random directions, drawn once for all samples; at most K minus the null directions.
      key: Key of the directions, the pilot and the bootstrap.
      pilot: Number of samples drawn at random and scored exactly; at least 8 and at most N.
      eps: As in `score_samples`.
      **options: As in `score_batches`, for both scores.

    Raises:
      ValueError: If p or the pilot does not fit, fewer than 8 scores of the pilot are finite, or as in `score_batches`.
    """
    count = len(jax.tree.leaves(xs)[0])
    if not MIN_PILOT_SAMPLES <= pilot <= count:
        raise ValueError(
            f"pilot is {pilot}; it must be at least {MIN_PILOT_SAMPLES}, and at most the number of samples, {count}"
        )
    _, _, out = flatten(f, jax.tree.map(lambda a: jnp.asarray(a[0]), xs))
    most = out.size - getattr(f, "null_directions", 0)
    if not 1 <= p <= most:
        raise ValueError(f"p is {p}; for this encoder it must be 1 .. {most}, its directions that are not null")
    draw, choose = jax.random.split(key)
    directions = random_directions(draw, p, out.size)
    sketch = _scores(lambda x: _project(f, directions, x), xs, eps, options)

    chosen = np.asarray(jax.random.permutation(choose, count)[:pilot])
    if options.get("tangent") is not None:
        options = options | {"tangent": options["tangent"][chosen]}
    exact = _scores(f, jax.tree.map(lambda a: a[chosen], xs), eps, options)
    finite = np.isfinite(sketch[chosen]) & np.isfinite(exact)
    if finite.sum() < MIN_PILOT_SAMPLES:
        raise ValueError(
            f"only {finite.sum()} of {pilot} pilot scores are finite, and {MIN_PILOT_SAMPLES} are needed; "
            "leave out the samples whose scores are NaN"
        )
    known, exact = sketch[chosen][finite], exact[finite]
    slope, intercept, error = _fit(known, exact)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(choose)).ravel())
    spearman, interval = rank_agreement(known, exact, rng)
    return SketchResult(intercept + slope * sketch, error, spearman, interval, p, int(finite.sum()))


def is_constant(a: np.ndarray) -> bool:
    """Return whether scores [N] vary by rounding alone: a float32 sum of logarithms is wrong by 1e-6 of its size."""
    return a.std() < 1e-5 * (1 + np.abs(a).mean())


def rank_agreement(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """Return Spearman's rank correlation of two scores of the same samples, and its interval.

    Args:
      x: Scores [N].
      y: Other scores [N].
      rng: Source of the resampled pairs of the bootstrap.

    Returns:
      The correlation, and its 95 % interval (low, high); all NaN if a score is constant but for rounding.
    """
    if is_constant(x) or is_constant(y):
        return np.nan, (np.nan, np.nan)

    def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (stats.rankdata(v, axis=-1) - (len(x) + 1) / 2 for v in (a, b))
        with np.errstate(invalid="ignore"):  # a resample that repeats one sample has no rank correlation
            return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))

    pick = rng.integers(len(x), size=(BOOTSTRAP_RESAMPLES, len(x)))
    low, high = np.nanquantile(spearman(x[pick], y[pick]), [0.025, 0.975])
    return float(spearman(x, y)), (float(low), float(high))


def _project(f: Callable[[Any], Array], directions: Array, x: Any) -> Array:
    z = f(x)
    if directions.ndim != 2 or directions.shape[1:] != z.shape:
        raise ValueError(f"directions have shape {list(directions.shape)}; for this encoder it must be [p, {z.size}]")
    return directions.astype(z.dtype) @ z


def _scores(f: Any, xs: Any, eps: float, options: dict[str, Any]) -> np.ndarray:
    batches = score_batches(f, xs, eps, values=False, **options)
    return np.concatenate([np.asarray(batch.score, np.float64) for batch in batches])


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return slope and intercept of y against x, and the root mean square of the leave-one-out residuals."""
    dx, dy = x - x.mean(), y - y.mean()
    square = 1.0 if is_constant(x) else float(dx @ dx)
    slope = 0.0 if is_constant(x) else float(dx @ dy) / square
    # Leaving out sample i multiplies its residual by 1 / (1 - leverage) (Allen 1974, PRESS), without a second fit.
    leverage = np.minimum(1 / len(x) + dx**2 / square, 1 - 1e-9)
    residual = (dy - slope * dx) / (1 - leverage)
    return slope, float(y.mean() - slope * x.mean()), float(np.sqrt(np.mean(residual**2)))
