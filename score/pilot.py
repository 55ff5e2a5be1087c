"""Predicted scores: a part of the samples is scored exactly, and the other scores are predicted from embeddings."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jepa_jax.data import LazyImages, Samples
from jepa_jax.density import is_constant, random_directions, rank_agreement
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.evaluate import COVERAGE, KernelRidge, Predictions, kernel_ridge

from .options import Arguments
from .scorer import PREDICTED_CODE, UNREADABLE_CODE, Scorer
from .shards import Shards
from .share import score_share
from .table import Columns

LEAST_PILOT = 30  # exact scores below which neither the fit nor its error is meaningful
SMALLEST = 1e-30  # singular value whose logarithm stands for that of smaller ones


@dataclass(frozen=True)
class Pilot:
    """Samples with exact scores among others.

    Attributes:
      whole: All samples.
      rows: Numbers [n] of the samples that are scored exactly, ascending.
      samples: These samples.
    """

    whole: Samples
    rows: np.ndarray
    samples: Samples


def draw_pilot(a: Arguments, encoder: Encoder, whole: Samples) -> Pilot | None:
    """Draw the samples that are scored exactly; None without --pilot.

    Raises:
      ConfigError: If --pilot or --sketch does not fit the samples or the encoder.
    """
    if a.pilot is None:
        return None
    count = len(whole)
    if not a.pilot >= LEAST_PILOT:
        raise ConfigError(f"--pilot is {a.pilot}; a prediction needs at least {LEAST_PILOT} exact scores")
    if a.pilot >= count:
        raise ConfigError(
            f"--pilot is {a.pilot}, and {a.data} has {count} samples, so that nothing is left to predict; leave it out"
        )
    products = min(encoder.dim - encoder.null_directions, math.prod(encoder.shape))
    if not 0 <= a.sketch < products:
        raise ConfigError(
            f"--sketch is {a.sketch}; for this encoder it goes from 0 to {products - 1}, below what a score takes"
        )
    # Not the stream of --sample, whose places in the data would then be related to those within the sample.
    rng = np.random.default_rng([a.sample_seed, 1])
    rows = np.sort(rng.choice(count, a.pilot, replace=False))
    return Pilot(whole, rows, whole.take(rows))


def predict(
    a: Arguments,
    scorer: Scorer,
    pilot: Pilot,
    rows: np.ndarray,
    z: np.ndarray,
    identity: dict[str, Any],
    table: Path,
    console: Console,
) -> tuple[np.ndarray, Columns, dict[str, Any]]:
    """Predict the scores of all samples from those of the pilot.

    Args:
      a: Arguments of the program.
      scorer: Scorer of the pilot.
      pilot: Samples.
      rows: Records of the pilot [n].
      z: Embeddings of all samples [N, K].
      identity: All that determines the sketches of all samples.
      table: Path beside which the rows of the table are kept.
      console: Console for progress.

    Returns:
      The records of all samples [N], without numbers where there is no exact score; the columns of the predictions; and
      the entries of FILE.json about them.

    Raises:
      ConfigError: If the exact scores are too few, or all the same.
    """
    features = z
    if a.sketch:
        features = np.concatenate([z, _sketches(a, scorer, pilot, identity, table, console)], axis=1)
    usable = np.isfinite(rows["score"]) & np.isfinite(features[pilot.rows]).all(axis=1)
    exact, places = rows["score"][usable].astype(np.float64), pilot.rows[usable]
    if len(exact) < LEAST_PILOT:
        raise ConfigError(
            f"only {len(exact)} samples of --pilot {a.pilot} have a score; a prediction needs at least {LEAST_PILOT}"
        )
    if is_constant(exact):
        raise ConfigError(
            f"the {len(exact)} exact scores of --pilot are the same but for rounding, {exact.mean():.6g} nats, so that "
            "there is nothing to predict; leave it out"
        )
    with console.status(f"predicting {len(z)} scores from {len(exact)}"):
        fit = kernel_ridge(features[places], exact)
        found = fit.predict(features)
    found.value[places] = fit.left_out  # a prediction is never one that knew the score
    found.low[pilot.rows] = found.high[pilot.rows] = np.nan
    columns: Columns = {
        "exact": np.isin(np.arange(len(z)), pilot.rows[np.isfinite(rows["score"])]).astype(int),
        "predicted_score": found.value,
        "predicted_low": found.low,
        "predicted_high": found.high,
    }
    return _spread_out(pilot, rows, found.value), columns, {"pilot": _entries(a, scorer.encoder, pilot, fit, found)}


def _entries(a: Arguments, encoder: Encoder, pilot: Pilot, fit: KernelRidge, found: Predictions) -> dict[str, Any]:
    """Return the entries of FILE.json about predictions [N]."""
    spearman, interval = rank_agreement(fit.left_out, fit.numbers, np.random.default_rng(a.sample_seed))
    count = len(pilot.whole)
    each = a.views * min(encoder.dim, math.prod(encoder.shape))
    widths = (found.high - found.low)[np.isfinite(found.low)]
    return {
        "exact": len(fit.numbers),
        "predicted": int(np.isfinite(np.delete(found.value, pilot.rows)).sum()),
        "directions": a.sketch,
        "kernel": "linear" if fit.width is None else "gaussian",
        "products_saved": count * each / (len(pilot.rows) * each + count * a.sketch),
        "error": fit.error,
        "score_deviation": float(fit.numbers.std()),
        "spearman": spearman,
        "spearman_interval": interval,
        "band_coverage": COVERAGE,
        "band_width_median": float(np.median(widths)) if len(widths) else float("nan"),
    }


def projected(encoder: Encoder, directions: jax.Array) -> Encoder:
    """Return the encoder P f of p directions P [p, K] of the embedding, whose Jacobian costs p products."""
    return dataclasses.replace(
        encoder,
        params=(encoder.params, directions),
        apply=lambda params, x: params[1] @ encoder.apply(params[0], x),
        dim=len(directions),
        base=None,
        null_directions=0,
        factor=None,
        volume=None,
        densities=(),
    )


def sketch_encoder(a: Arguments, encoder: Encoder) -> Encoder:
    """Return the encoder whose Jacobian is the sketch that `--sketch` asks for."""
    return projected(encoder, random_directions(jax.random.key(a.sample_seed), a.sketch, encoder.dim))


def sketch_options(a: Arguments) -> Arguments:
    """Return the arguments with those options of a score that a sketch, with its fewer rows, chooses for itself."""
    return dataclasses.replace(a, method="auto", mode="auto", views=1)


def log_values(singular_values: np.ndarray) -> np.ndarray:
    """Return the features that a sketch gives: logarithms, of zeros too."""
    return np.log(np.maximum(singular_values, SMALLEST))


def _spread_out(pilot: Pilot, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the records of all samples [N]: those of the pilot in their places, the others without numbers."""
    records = np.zeros(len(pilot.whole), rows.dtype)
    for name in set(rows.dtype.names or ()) - {"reason", "clipped"}:
        records[name] = np.nan
    images = pilot.whole.x
    missing = np.flatnonzero(~np.isfinite(predicted))
    unread = [isinstance(images, LazyImages) and images.failure(row) is not None for row in missing.tolist()]
    records["reason"] = PREDICTED_CODE
    records["reason"][missing] = np.where(np.array(unread, bool), UNREADABLE_CODE, 2)
    records[pilot.rows] = rows
    return records


def _sketches(
    a: Arguments, scorer: Scorer, pilot: Pilot, identity: dict[str, Any], table: Path, console: Console
) -> np.ndarray:
    """Return the log singular values [N, P] of P J for P random directions of the embedding, for all samples."""
    options = sketch_options(a)
    sketcher = dataclasses.replace(
        scorer,
        encoder=sketch_encoder(a, scorer.encoder),
        xs=pilot.whole.x,
        how=scorer.how | {"method": options.method, "mode": options.mode},
        views=None,
        num_views=1,
        rank=0,
        spectra=True,
        law=None,
    )
    # Kept beside the table, so that a call after a crash goes on with them, and one after the end has them.
    shards = Shards(table.with_suffix(".sketch"), sketcher.record, identity, len(pilot.whole))
    score_share(sketcher, shards, 0, len(pilot.whole), console)
    rows = shards.read()
    shards.keep(rows, np.zeros((0, a.sketch)))
    return log_values(rows["singular_values"])
