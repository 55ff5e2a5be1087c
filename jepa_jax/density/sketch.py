"""A cheaper number than JEPA-SCORE, under another name: an estimate with its measured error."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from scipy import stats

from jepa_jax.density.batches import score_batches
from jepa_jax.density.jacobian import flatten
from jepa_jax.density.score import EPS, jepa_score

LEAST = 8  # pilot samples: below this neither the fit nor its error means anything
RESAMPLES = 2000  # of the pilot, for the interval of the rank agreement


class SketchResult(NamedTuple):
    """An estimate of the score, how well it ranks, and its error bar. `print(result)` says all but the estimates.

    Attributes:
      estimate: [N], float64, in nats: for every sample, those of the pilot too.
      standard_error: of one estimate, in nats: root mean square over the pilot of (exact - estimate), each from a fit
        that left this sample out.
      spearman: rank correlation of sketch and exact score over the pilot, before any fit. The fit keeps the ranks,
        unless this is negative: then the sketch is not to be trusted. NaN where either of them is constant.
      spearman_interval: (low, high), the bootstrap's 95 % interval.
      directions: p.
      pilot: how many samples were scored exactly.
    """

    estimate: np.ndarray
    standard_error: float
    spearman: float
    spearman_interval: tuple[float, float]
    directions: int
    pilot: int

    def __str__(self) -> str:
        """What the estimate is worth, in two sentences."""
        low, high = self.spearman_interval
        ranks = f"ranks agree with Spearman {self.spearman:.3f} (95 % interval {low:.3f} to {high:.3f})"
        if np.isnan(self.spearman):
            ranks = "scores are constant, so there are no ranks to agree"
        return (
            f"This is an estimate from {self.directions} random directions of the embedding, not the score itself. "
            f"On {self.pilot} samples that were also scored exactly, {ranks}, and the standard error of an estimate is "
            f"{self.standard_error:.2g} nats."
        )


def random_directions(key: Array, p: int, dim: int) -> Array:
    """p orthonormal directions of the embedding, uniform among all such: [p, K], K = dim.

    Raises:
      ValueError: p below 1 or above K.
    """
    if not 1 <= p <= dim:
        raise ValueError(f"p is {p}; for this encoder it must be 1 .. {dim}")
    return jnp.linalg.qr(jax.random.normal(key, (dim, p), jnp.float32))[0].T


def sketch_score(f: Callable[[Any], Array], x: Any, directions: Array, eps: float = EPS, **options: Any) -> Array:
    """Sum of the log singular values of P J for some directions P of the embedding: p products instead of K.

    **Not JEPA-SCORE, and not on its scale**: `calibrated_sketch` maps it there and measures what is left. With p = K
    the two are the same, since a rotation of the output changes nothing. Where D <= p there is nothing to save.

    Args:
      f, x, eps: as in `jepa_score`.
      directions: P [p, K], orthonormal rows (`random_directions`); the same for all samples that are to be compared.
      options: as in `jepa_score`.

    Returns:
      A scalar, in nats.

    Raises:
      ValueError: directions of another size, or as `jepa_score`.
    """
    return jepa_score(Partial(_project, f, directions), x, eps, **options)


def calibrated_sketch(
    f: Callable[[Any], Array], xs: Any, p: int, key: Array, *, pilot: int = 64, eps: float = EPS, **options: Any
) -> SketchResult:
    """Estimates of many scores: the sketch of all of them, on the scale of a few that are scored exactly as well.

    The map from sketch to score is a straight line, fitted to the pilot by least squares. On a bent random map with
    K = 32, p = K/8 ranked with Spearman 0.91, K/3 with 0.97, 3K/4 with 0.99 (LOG.md); encoders differ, so the result
    carries its own rank agreement and error bar, measured on the pilot. Stochastic Lanczos quadrature ranked worse at
    every number of products.

    Args:
      f, xs, eps: as in `score_samples`.
      p: random directions, drawn once for all samples; at most K less the null directions.
      key: of the directions, the pilot and the bootstrap.
      pilot: samples drawn at random and scored exactly; 8 or more, at most N.
      options: as in `score_batches`, for both scores.

    Raises:
      ValueError: p or the pilot does not fit, fewer than 8 finite scores in the pilot, or as `score_batches`.
    """
    count = len(jax.tree.leaves(xs)[0])
    if not LEAST <= pilot <= count:
        raise ValueError(f"pilot is {pilot}; it must be at least {LEAST}, and at most the number of samples, {count}")
    _, _, out = flatten(f, jax.tree.map(lambda a: jnp.asarray(a[0]), xs))
    most = out.size - getattr(f, "null_directions", 0)
    if not 1 <= p <= most:
        raise ValueError(f"p is {p}; for this encoder it must be 1 .. {most}, as many as are not null by construction")
    draw, choose = jax.random.split(key)
    directions = random_directions(draw, p, out.size)
    leaves = jax.tree.leaves(f)
    function = Partial(f) if len(leaves) == 1 and leaves[0] is f else f  # a plain function has no arrays to pass
    sketch = _scores(Partial(_project, function, directions), xs, eps, options)

    chosen = np.asarray(jax.random.permutation(choose, count)[:pilot])
    if options.get("tangent") is not None:
        options = options | {"tangent": options["tangent"][chosen]}
    exact = _scores(f, jax.tree.map(lambda a: a[chosen], xs), eps, options)
    finite = np.isfinite(sketch[chosen]) & np.isfinite(exact)
    if finite.sum() < LEAST:
        raise ValueError(f"only {finite.sum()} of {pilot} pilot scores are finite, and {LEAST} are needed; see the NaN")
    known, exact = sketch[chosen][finite], exact[finite]
    slope, intercept, error = _fit(known, exact)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(choose)).ravel())
    spearman, interval = _rank_agreement(known, exact, rng)
    return SketchResult(intercept + slope * sketch, error, spearman, interval, p, int(finite.sum()))


def _project(f: Callable[[Any], Array], directions: Array, x: Any) -> Array:
    z = f(x)
    if directions.ndim != 2 or directions.shape[1:] != z.shape:
        raise ValueError(f"directions have shape {list(directions.shape)}; for this encoder it must be [p, {z.size}]")
    return directions.astype(z.dtype) @ z


def _scores(f: Any, xs: Any, eps: float, options: dict[str, Any]) -> np.ndarray:
    batches = score_batches(f, xs, eps, values=False, **options)
    return np.concatenate([np.asarray(batch.score, np.float64) for batch in batches])


def _constant(a: np.ndarray) -> bool:
    """Nothing but rounding: a float32 sum of logarithms carries about 1e-6 of its size."""
    return a.std() < 1e-5 * (1 + np.abs(a).mean())


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope and intercept of y against x, and the root mean square of the leave-one-out residuals."""
    dx, dy = x - x.mean(), y - y.mean()
    square = 1.0 if _constant(x) else float(dx @ dx)
    slope = 0.0 if _constant(x) else float(dx @ dy) / square
    # Leaving sample i out changes its residual by 1 / (1 - leverage) (Allen 1974, PRESS), with no second fit.
    leverage = np.minimum(1 / len(x) + dx**2 / square, 1 - 1e-9)
    residual = (dy - slope * dx) / (1 - leverage)
    return slope, float(y.mean() - slope * x.mean()), float(np.sqrt(np.mean(residual**2)))


def _rank_agreement(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """Spearman's rank correlation and its 95 % interval over resampled pairs."""
    if _constant(x) or _constant(y):
        return np.nan, (np.nan, np.nan)

    def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (stats.rankdata(v, axis=-1) - (len(x) + 1) / 2 for v in (a, b))
        with np.errstate(invalid="ignore"):  # a resample of one sample only has no ranks
            return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))

    pick = rng.integers(len(x), size=(RESAMPLES, len(x)))
    low, high = np.nanquantile(spearman(x[pick], y[pick]), [0.025, 0.975])
    return float(spearman(x, y)), (float(low), float(high))
