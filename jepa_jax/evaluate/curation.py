"""Near-duplicates and doubtful labels, by distances between embeddings."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DUPLICATE_RATIO = 0.1  # distance of near-duplicates, over the median distance of nearest neighbours
LABEL_NEIGHBOURS = 10  # neighbours whose labels are compared with that of a sample
CHUNK_QUERIES = 512  # samples that are compared with all at once, which bounds the memory


class Duplicates(NamedTuple):
    """Near-duplicates among N samples.

    Attributes:
      of: Row of the nearest earlier sample that is as near as a duplicate, [N]; -1 if there is none.
      apart: Distance to that sample [N]; NaN if there is none.
      distance: Largest distance of near-duplicates.
      typical_distance: Median distance from a sample to its nearest neighbour.
    """

    of: np.ndarray
    apart: np.ndarray
    distance: float
    typical_distance: float


def _nothing(count: int) -> None:
    """Report no progress."""


def near_duplicates(
    z: ArrayLike, ratio: float = DUPLICATE_RATIO, *, done: Callable[[int], None] = _nothing
) -> Duplicates:
    """Find samples whose embedding is far nearer to that of an earlier sample than is usual.

    Among unrelated samples whose embeddings fill d dimensions, about 0.7 ratio^d are as near by chance.

    Args:
      z: Embeddings [N, K]; rows that are not finite have no duplicates.
      ratio: Distance of near-duplicates, over the median distance of nearest neighbours.
      done: Called with the number of samples whose neighbours were found since the last call.
    """
    from sklearn.neighbors import NearestNeighbors  # imported here, because scikit-learn takes a second to import

    z = np.asarray(z)
    of, apart, known = np.full(len(z), -1), np.full(len(z), np.nan), np.flatnonzero(np.isfinite(z).all(axis=1))
    if len(known) < 2:
        return Duplicates(of, apart, float("nan"), float("nan"))
    search = NearestNeighbors().fit(z[known])
    nearest = np.concatenate([far[:, 0] for far, _ in _neighbours(search, z[known], 1, done)])
    typical = float(np.median(nearest))
    distance = ratio * typical
    close = np.flatnonzero(nearest <= distance)
    for start in range(0, len(close), CHUNK_QUERIES):
        some = close[start : start + CHUNK_QUERIES]
        for row, far, found in zip(some, *search.radius_neighbors(z[known[some]], distance), strict=True):
            earlier = found < row
            if earlier.any():
                first = np.lexsort((found[earlier], far[earlier]))[0]
                of[known[row]], apart[known[row]] = known[found[earlier][first]], far[earlier][first]
    return Duplicates(of, apart, distance, typical)


def label_disagreement(
    z: ArrayLike, label: ArrayLike, k: int = LABEL_NEIGHBOURS, *, done: Callable[[int], None] = _nothing
) -> np.ndarray:
    """Return the share of the k nearest labelled samples that have another label, [N].

    Args:
      z: Embeddings [N, K].
      label: Labels [N], whole numbers; negative for no label. The result is NaN there, and where the embedding is not
        finite.
      k: Number of neighbours; fewer if there are fewer samples with a label.
      done: Called with the number of samples whose neighbours were found since the last call.
    """
    from sklearn.neighbors import NearestNeighbors

    z, label = np.asarray(z), np.asarray(label)
    found, known = np.full(len(z), np.nan), np.flatnonzero(np.isfinite(z).all(axis=1) & (label >= 0))
    k = min(k, len(known) - 1)
    if k > 0:
        search, own = NearestNeighbors().fit(z[known]), label[known]
        blocks = _neighbours(search, z[known], k, done)
        start = 0
        for _, near in blocks:
            rows = slice(start, start := start + len(near))
            found[known[rows]] = (own[near] != own[rows, None]).mean(axis=1)
    return found


def _neighbours(
    search: Any, z: np.ndarray, k: int, done: Callable[[int], None]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the distances and the rows [n, k] of the nearest other samples, for consecutive blocks of n samples."""
    for start in range(0, len(z), CHUNK_QUERIES):
        rows = np.arange(start, min(start + CHUNK_QUERIES, len(z)))
        far, near = search.kneighbors(z[rows], k + 1)
        # The sample itself is left out, which among many copies of it need not be found.
        other = near != rows[:, None]
        other[other.all(axis=1), -1] = False
        yield far[other].reshape(-1, k), near[other].reshape(-1, k)
        done(len(rows))
