"""Columns for curation: the percentile within the class, near-duplicates, and doubtful labels."""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jepa_jax.data import Samples
from jepa_jax.evaluate import LABEL_NEIGHBOURS, label_disagreement, near_duplicates
from jepa_jax.progress import Pulse, progress

from .page import Suspects, percentiles
from .table import Columns, row_ids

DOUBTFUL = 0.5  # share of the neighbours with another label, above which a label is doubtful


class Curated(NamedTuple):
    """Result of `curate`.

    Attributes:
      columns: Columns for the table.
      entries: Entries of FILE.json.
      suspects: Samples for the galleries of the report, or None.
    """

    columns: Columns
    entries: dict[str, Any]
    suspects: Suspects | None


def curate(samples: Samples, score: np.ndarray, z: np.ndarray, console: Console) -> Curated:
    """Find near-duplicates, doubtful labels and samples that are odd in their class.

    Args:
      samples: Samples that were scored.
      score: Scores [N]; NaN for a sample without one.
      z: Embeddings [N, K]; NaN for a sample without one.
      console: Console for the progress.
    """
    label, ids = samples.numbered_label, row_ids(samples)
    labelled = label is not None and bool((label >= 0).any())
    total = len(z) * (2 if labelled else 1)
    pulse, compared = Pulse(console, 0, total, "comparison"), 0
    with progress(console, total, "comparing the embeddings") as bar:

        def done(count: int) -> None:
            nonlocal compared
            compared += count
            bar.advance(bar.task_ids[0], count)
            pulse.beat(compared, early=compared == count)

        twins = near_duplicates(z, done=done)
        doubt = None if label is None or not labelled else label_disagreement(z, label, done=done)
    columns: Columns = {"duplicate_of": np.ma.masked_array(ids[twins.of], twins.of < 0)}
    entries: dict[str, Any] = {
        "duplicates": int((twins.of >= 0).sum()),
        "duplicate_distance": twins.distance,
        "nearest_distance_median": twins.typical_distance,
    }
    percentile, odd, doubtful = None, np.zeros(0, int), np.zeros(0, int)
    if label is not None and doubt is not None:
        percentile = class_percentiles(score, label)
        odd, doubtful = odd_in_class(score, label), _highest(np.where(doubt > DOUBTFUL, doubt, np.nan))
        columns = {"class_percentile": percentile, **columns, "label_disagreement": doubt}
        entries |= {"label_neighbours": LABEL_NEIGHBOURS, "doubtful_labels": len(doubtful)}
    suspects = Suspects(odd, doubtful, _highest(-twins.apart), percentile, doubt, twins.of, twins.apart)
    return Curated(columns, {"curation": entries}, suspects)


def class_percentiles(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the percentile of each score [N] within its class; NaN without a score or without a label, below 0."""
    found = np.full(len(score), np.nan)
    for number in np.unique(label[label >= 0]):
        rows = label == number
        found[rows] = percentiles(score[rows])
    return found


def odd_in_class(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the rows with a score and a label, those at either end of their class first.

    Which end is odd depends on the encoder: a blank picture is the least likely to one and the most likely to another.
    Rows equally far from an end are in the order of their distance from the median of the class, in units of its
    interquartile range.

    Args:
      score: Scores [N]; NaN for a sample without one.
      label: Labels [N], below 0 for none.
    """
    end, far = np.full(len(score), np.inf), np.zeros(len(score))
    for number in np.unique(label[label >= 0]):
        rows = np.flatnonzero((label == number) & np.isfinite(score))
        if not len(rows):
            continue
        rank = np.argsort(np.argsort(score[rows], kind="stable"), kind="stable")
        low, middle, high = np.quantile(score[rows], [0.25, 0.5, 0.75])
        end[rows] = np.minimum(rank, len(rows) - 1 - rank)
        far[rows] = np.abs(score[rows] - middle) / max(high - low, np.finfo(np.float32).tiny)
    order = np.lexsort((-far, end))
    return order[np.isfinite(end[order])]


def _highest(values: np.ndarray) -> np.ndarray:
    """Return the rows with a value that is no NaN, the highest first."""
    order = np.argsort(-values, kind="stable")
    return order[np.isfinite(values[order])]
