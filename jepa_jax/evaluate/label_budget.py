"""Accuracy of a linear probe by the number of labels that it is fitted on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jepa_jax.evaluate.probes import linear_probe


class Budget(NamedTuple):
    """Accuracy with few labels.

    Attributes:
      mean: Mean accuracy over draws of the labelled samples.
      deviation: Its standard deviation over draws.
    """

    mean: float
    deviation: float


def label_budget(
    train_z: ArrayLike, train_y: ArrayLike, test_z: ArrayLike, test_y: ArrayLike, *, shots: int, draws: int = 5
) -> Budget:
    """Return the accuracy of linear probes that are fitted on a few random samples of each class.

    Args:
      train_z: Training embeddings [N, K], from which the labelled samples are drawn.
      train_y: Training labels [N].
      test_z: Test embeddings [M, K].
      test_y: Test labels [M].
      shots: Labelled samples of each class.
      draws: Number of draws; the draws are the same for every embedding of the same samples.

    Raises:
      ValueError: If a class has fewer samples.
    """
    z, y, random = np.asarray(train_z), np.asarray(train_y), np.random.default_rng(0)
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < shots:
        raise ValueError(f"class {classes[counts.argmin()]} has {counts.min()} samples, fewer than {shots}")
    found = []
    for _ in range(draws):
        rows = np.concatenate([random.permutation(np.flatnonzero(y == c))[:shots] for c in classes])
        found.append(linear_probe(z[rows], y[rows], test_z, test_y))
    return Budget(float(np.mean(found)), float(np.std(found)))
