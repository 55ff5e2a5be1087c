"""Content of a report, and the values that are derived from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import rankdata

MAX_ROWS = 20_000  # rows in the page; of more rows, both ends and a random part are shown
END_ROWS = 5_000  # rows at each end that are then shown
GALLERY_PICTURES = 20


@dataclass(frozen=True)
class Suspects:
    """Samples to look at for curation, and the columns [N] by which they were found.

    Attributes:
      odd: Rows [n] of the lowest and the highest percentiles within their class, the oddest first.
      doubtful: Rows [n] whose label is in doubt, the most doubtful first.
      copies: Rows [n] of near-duplicates of earlier ones, the nearest first.
      class_percentile: Percentile within the class, or None without labels; NaN without a score or a label.
      label_disagreement: Share of the nearest samples with another label, or None without labels; NaN without one.
      duplicate_of: Row of the earlier sample that each is a near-duplicate of; -1 for none.
      distance: Distance of the embeddings of the two; NaN for none.
    """

    odd: np.ndarray
    doubtful: np.ndarray
    copies: np.ndarray
    class_percentile: np.ndarray | None
    label_disagreement: np.ndarray | None
    duplicate_of: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Page:
    """Content of a report on N samples.

    Attributes:
      title: Heading.
      model: Name of the model.
      data: Name of the data.
      summary: Content of FILE.json: dicts, lists, strings and numbers.
      ids: Row numbers or paths [N].
      score: Scores [N] in nats; NaN for a sample without a score.
      log_density: Learned log-densities [N] in nats; NaN for a sample without one.
      clipped: Number of singular values at or below eps [N].
      reasons: Reason why a sample has no score [N], "" if it has one.
      truth: Exact log-density [N], or None.
      sigma: Singular values of some samples [n, R]; n may be 0.
      thumbnail: row -> a small picture, or None.
      labels: Class names [N]; None uses the first folder of each id that is a path.
      suspects: Samples to look at for curation, or None.
      link: row -> address of its file, relative to the page where that is possible, or None.
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
    suspects: Suspects | None = None
    link: Callable[[int], str | None] = lambda row: None

    @cached_property
    def order(self) -> np.ndarray:
        """Rows with a score, lowest score first."""
        scored = np.flatnonzero(np.isfinite(self.score))
        return scored[np.argsort(self.score[scored], kind="stable")]

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows that are in the table, in ascending order."""
        count = len(self.score)
        if count <= MAX_ROWS:
            return np.arange(count)
        kept = [self.order[:END_ROWS], self.order[END_ROWS:][-END_ROWS:]]
        if (found := self.suspects) is not None:
            kept += [rows[:GALLERY_PICTURES] for rows in (found.odd, found.doubtful, found.copies)]
        kept = np.unique(np.concatenate(kept))
        rest = np.setdiff1d(np.arange(count), kept)
        some = np.random.default_rng(0).choice(rest, MAX_ROWS - len(kept), replace=False)
        return np.sort(np.concatenate([kept, some]))

    @cached_property
    def percentile(self) -> np.ndarray:
        """Share of samples with a lower score [N], in percent, rounded down to tenths; NaN without a score."""
        return percentiles(self.score)

    @cached_property
    def digits(self) -> int:
        """Digits after the decimal point that distinguish scores: three or four digits within their usual range."""
        low, high = np.quantile(self.score[self.order], [0.05, 0.95]) if len(self.order) else (0, 0)
        return int(np.clip(3 - np.floor(np.log10(high - low)), 0, 6)) if high > low else 3

    @cached_property
    def classes(self) -> np.ndarray | None:
        """Class of each row [N], "" for a row without one; None if there are fewer than two classes."""
        names = map(first_folder, self.ids) if self.labels is None else self.labels
        found = np.array([str(name) for name in names], dtype=object)
        return found if len(set(found)) > 1 else None


def percentiles(score: np.ndarray) -> np.ndarray:
    """Return the share of samples with a lower score [N], in percent, rounded down to tenths; NaN without a score."""
    found, scored = np.full(len(score), np.nan), np.flatnonzero(np.isfinite(score))
    if len(scored):
        found[scored] = np.floor(1000 * (rankdata(score[scored], method="min") - 1) / len(scored)) / 10
    return found


def first_folder(name: str | int) -> str:
    """Return the first folder of a path, or ""."""
    return name.split("/", 1)[0] if isinstance(name, str) and "/" in name else ""
