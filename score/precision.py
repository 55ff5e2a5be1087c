"""Cost of a lower precision, measured on a few of the samples before all are scored with it."""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jepa_jax.density import rank_agreement, score_batches
from jepa_jax.errors import ConfigError
from jepa_jax.evaluate import LEAST_SAMPLES

from .options import REFUSED, WARNED, Arguments
from .scorer import Scorer

SAMPLES = 64  # that are scored in both precisions


class Cost(NamedTuple):
    """Distance of scores in a lower precision from those in float32.

    Attributes:
      samples: Number of samples that have a score in float32.
      lost: Number of these that have none in the lower precision.
      nats_median: Median distance in nats.
      nats_max: Largest distance in nats.
      spearman: Rank correlation; NaN if the scores are constant or too few.
      spearman_interval: Bootstrap 95 % interval (low, high) of the rank correlation.
    """

    samples: int
    lost: int
    nats_median: float
    nats_max: float
    spearman: float
    spearman_interval: tuple[float, float]

    def exceeds(self, limits: tuple[float, float]) -> bool:
        """Return whether a distance is above limits[0], the interval reaches below limits[1], or a score is lost."""
        nats, spearman = limits
        return bool(self.lost) or self.nats_max > nats or self.spearman_interval[0] < spearman

    def __str__(self) -> str:
        """Describe the cost in one sentence."""
        low, high = self.spearman_interval
        ranks = f", Spearman {self.spearman:.4f} (95 % interval {low:.4f} to {high:.4f})"
        lost = f"; {self.lost} have no score any more" if self.lost else ""
        return (
            f"{self.samples} samples scored in float32 too: scores move by {self.nats_median:.2g} nats (median; at "
            f"most {self.nats_max:.2g}){'' if np.isnan(self.spearman) else ranks}{lost}"
        )


def cost(low: np.ndarray, exact: np.ndarray, seed: int) -> Cost:
    """Compare scores [N] in a lower precision with those in float32 [N]; samples without the latter do not count."""
    low, exact = low[np.isfinite(exact)], exact[np.isfinite(exact)]
    both = np.isfinite(low)
    off = np.abs(low - exact)[both]
    if both.sum() < LEAST_SAMPLES:
        spearman, interval = np.nan, (np.nan, np.nan)
    else:
        spearman, interval = rank_agreement(low[both], exact[both], np.random.default_rng(seed))
    median, most = (float(np.median(off)), float(off.max())) if len(off) else (np.nan, np.nan)
    return Cost(len(exact), int((~both).sum()), median, most, spearman, interval)


def measure_precision(a: Arguments, scorer: Scorer, console: Console) -> dict[str, Any]:
    """Score a seeded part of the samples in both precisions, and say what the lower one costs.

    Args:
      a: Arguments of the program.
      scorer: Scorer of the rows.
      console: Console for progress, the cost and a warning.

    Returns:
      The entry `precision_cost` of FILE.json; {} if the precision is float32.

    Raises:
      ConfigError: If the cost is above the limits, unless the arguments accept it.
    """
    if a.precision == "float32":
        return {}
    count = len(scorer.xs)
    rows = np.sort(np.random.default_rng(a.sample_seed).permutation(count)[:SAMPLES])
    with console.status(f"measuring what {a.precision} costs"):
        found = cost(_scores(scorer, rows, a.precision), _scores(scorer, rows, "float32"), a.sample_seed)
    verdict = "refused" if found.exceeds(REFUSED) else "warned" if found.exceeds(WARNED) else "fine"
    advice = "bf16x6 is as exact as float32" if a.precision != "bf16x6" else "take float32"
    if verdict == "refused" and not a.accept_precision:
        raise ConfigError(
            f"--precision {a.precision} is refused; {found}. The limits are {REFUSED[0]:g} nats and, for the "
            f"lower end of the interval, {REFUSED[1]:g}: {advice}, and --accept-precision goes on regardless"
        )
    console.print(f"{a.precision}: {found}", markup=False)
    if verdict != "fine":
        console.print(f"warning: {a.precision} changes these scores by more than rounding; {advice}", markup=False)
    return {"precision_cost": found._asdict() | {"verdict": "accepted" if verdict == "refused" else verdict}}


def _scores(scorer: Scorer, rows: np.ndarray, precision: str) -> np.ndarray:
    how: dict[str, Any] = scorer.how | {"precision": precision}
    batches = score_batches(
        scorer.encoder,
        scorer.xs[rows],
        scorer.eps,
        **how,
        tangent=None if scorer.tangent is None else scorer.tangent[rows],
        batch_size=scorer.batch_size,
        values=False,
        mesh=scorer.mesh,
    )
    return np.concatenate([np.asarray(batch.score, np.float64) for batch in batches])
