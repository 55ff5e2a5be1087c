"""Columns for curation: the percentile within the class, near-duplicates, and doubtful labels."""

from typing import Any

import numpy as np
from rich.console import Console

from jepa_jax.data import Samples
from jepa_jax.evaluate import LABEL_NEIGHBOURS, label_disagreement, near_duplicates
from jepa_jax.progress import Pulse, progress

from .page import percentiles
from .table import Columns, row_ids

DOUBTFUL = 0.5  # share of the neighbours with another label, above which a label is doubtful


def curate(samples: Samples, score: np.ndarray, z: np.ndarray, console: Console) -> tuple[Columns, dict[str, Any]]:
    """Return the columns for curation, and the entries of FILE.json about them.

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
        doubt = label_disagreement(z, label, done=done) if labelled else None
    columns: Columns = {"duplicate_of": np.ma.masked_array(ids[twins.of], twins.of < 0)}
    entries: dict[str, Any] = {
        "duplicates": int((twins.of >= 0).sum()),
        "duplicate_distance": twins.distance,
        "nearest_distance_median": twins.typical_distance,
    }
    if label is not None and doubt is not None:
        columns = {"class_percentile": class_percentiles(score, label), **columns, "label_disagreement": doubt}
        entries |= {"label_neighbours": LABEL_NEIGHBOURS, "doubtful_labels": int((doubt > DOUBTFUL).sum())}
    return columns, {"curation": entries}


def class_percentiles(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the percentile of each score [N] within its class; NaN without a score or without a label, below 0."""
    found = np.full(len(score), np.nan)
    for number in np.unique(label[label >= 0]):
        rows = label == number
        found[rows] = percentiles(score[rows])
    return found
