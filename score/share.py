"""Scoring of a share of the rows, except those that are on disk."""

import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from jepa_jax.progress import Pulse

from .scorer import Scorer
from .shards import Shards

MAX_SPECTRA = 1000  # samples whose spectra the picture summarises


def score_share(
    scorer: Scorer, shards: Shards, start: int, stop: int, console: Console
) -> tuple[float | None, np.ndarray | None]:
    """Score the rows start..stop, except those that an earlier call has scored.

    Args:
      scorer: Scorer.
      shards: Rows on disk.
      start: First row.
      stop: One past the last row.
      console: Console for the progress bar.

    Returns:
      The seconds per sample, and singular values [n, R] of some samples. Both are None if no sample was scored, and the
      latter also if the method gives no singular values.
    """
    shards.adopt(start, stop, scorer.unit)
    gaps = shards.missing(start, stop)
    fresh, spectra, shown = 0, [], 0
    started = time.perf_counter()
    pulse = Pulse(console, 0, sum(last - first for first, last in gaps), "sample")
    with progress(console) as bar:
        task = bar.add_task("scoring", total=stop - start, completed=stop - start - sum(b - a for a, b in gaps))
        for first, last in gaps:
            shard = shards.begin(first)
            for rows, sigma in scorer.rows(first, last):
                shard.append(rows)
                bar.advance(task, len(rows))
                pulse.beat(fresh + len(rows), early=not fresh)
                fresh += len(rows)
                if sigma is not None and shown < MAX_SPECTRA:
                    spectra.append(sigma[: MAX_SPECTRA - shown])
                    shown += len(spectra[-1])
            shard.finish()
    seconds = (time.perf_counter() - started) / fresh if fresh else None
    return seconds, np.concatenate(spectra) if spectra else None


def progress(console: Console) -> Progress:
    """Return a progress bar with the elapsed and the remaining time."""
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
