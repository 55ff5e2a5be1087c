"""Retrieval: whether a prediction is nearer to its own target than to those of others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CHUNK_QUERIES = 512  # queries compared at once with all candidates


class Retrieval(NamedTuple):
    """Retrieval of N targets.

    Attributes:
      recall: Share of the queries whose own target is among the k nearest, by k.
      rank: Mean rank of the own target, divided by N - 1: 0 for the nearest, 1/2 by chance.
      chance: `recall` by chance, k / N.
    """

    recall: dict[int, float]
    rank: float
    chance: dict[int, float]


def retrieval(predicted: ArrayLike, target: ArrayLike, at: tuple[int, ...] = (1, 5, 10)) -> Retrieval:
    """Rank the own target of each prediction among all targets by cosine similarity.

    Riou et al., "Stem-JEPA", arXiv 2408.02514, section 4.1. Targets as near as the own one count half.

    Args:
      predicted: Predictions [N, ...]; they are flattened.
      target: Targets [N, ...] of the same shape.
      at: Numbers k of nearest targets.

    Raises:
      ValueError: If the shapes differ, or there are fewer than two samples.
    """
    query, key = np.asarray(predicted, np.float32), np.asarray(target, np.float32)
    if query.shape != key.shape or len(query) < 2:
        raise ValueError(f"retrieval takes two arrays of at least two samples, not {query.shape} and {key.shape}")
    query, key = _unit(query), _unit(key)
    count, ranks = len(query), []
    for start in range(0, count, CHUNK_QUERIES):
        similar = query[start : start + CHUNK_QUERIES] @ key.T
        own = similar[np.arange(len(similar)), start + np.arange(len(similar))][:, None]
        ties = np.isclose(similar, own, rtol=0, atol=1e-6).sum(axis=1) - 1
        nearer = ((similar > own) & ~np.isclose(similar, own, rtol=0, atol=1e-6)).sum(axis=1)
        ranks.append(nearer + ties / 2)
    rank = np.concatenate(ranks)
    recall = {k: float((rank < k).mean()) for k in at}
    return Retrieval(recall, float(rank.mean() / (count - 1)), {k: min(1.0, k / count) for k in at})


def _unit(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float32).tiny)
