"""What a report is made from, and what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import rankdata

MOST = 20_000  # rows in the page; of more, both ends and a random part
END = 5_000


@dataclass(frozen=True)
class Page:
    """What a report shows of N samples.

    Attributes:
      title: the heading.
      model, data: what was scored with what.
      summary: what stands in FILE.json: dicts, lists, strings and numbers.
      ids: [N], row numbers or paths.
      score: [N], nats; NaN where a sample has none.
      log_density: [N], nats; NaN where there is none.
      clipped: [N], singular values at or below eps.
      reasons: [N], why a sample has no score, "" where it has one.
      truth: [N], exact log-density, or None.
      sigma: [n, R], singular values of some samples; n may be 0.
      thumbnail: row -> a small picture, or None.
      labels: [N], class names; None takes the first folder of those ids that are paths.
    """

    title: str
    model: str
    data: str
    summary: Mapping[str, Any]
    ids: Sequence[str | int] | np.ndarray
    score: np.ndarray
    log_density: np.ndarray
    clipped: np.ndarray
    reasons: Sequence[str]
    truth: np.ndarray | None
    sigma: np.ndarray
    thumbnail: Callable[[int], Image.Image | None]
    labels: Sequence[str] | None = None

    @cached_property
    def order(self) -> np.ndarray:
        """The rows with a score, lowest first."""
        scored = np.flatnonzero(np.isfinite(self.score))
        return scored[np.argsort(self.score[scored], kind="stable")]

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows that stand in the table, ascending."""
        count = len(self.score)
        if count <= MOST:
            return np.arange(count)
        ends = np.concatenate([self.order[:END], self.order[END:][-END:]])
        rest = np.setdiff1d(np.arange(count), ends)
        some = np.random.default_rng(0).choice(rest, MOST - len(ends), replace=False)
        return np.sort(np.concatenate([ends, some]))

    @cached_property
    def percentile(self) -> np.ndarray:
        """The share of samples with a lower score [N], in percent, rounded down to tenths; NaN where there is none."""
        found = np.full(len(self.score), np.nan)
        if len(self.order):
            lower = rankdata(self.score[self.order], method="min") - 1
            found[self.order] = np.floor(1000 * lower / len(self.order)) / 10
        return found

    @cached_property
    def digits(self) -> int:
        """Digits after the point that tell scores apart: three or four in all of the scores' usual range."""
        low, high = np.quantile(self.score[self.order], [0.05, 0.95]) if len(self.order) else (0, 0)
        return int(np.clip(3 - np.floor(np.log10(high - low)), 0, 6)) if high > low else 3

    @cached_property
    def classes(self) -> np.ndarray | None:
        """The class of each row [N], "" where it has none; None where there are not two."""
        names = map(first_folder, self.ids) if self.labels is None else self.labels
        found = np.array([str(name) for name in names], dtype=object)
        return found if len(set(found)) > 1 else None


def first_folder(name: str | int) -> str:
    """The first folder of a path, or ""."""
    return name.split("/", 1)[0] if isinstance(name, str) and "/" in name else ""
