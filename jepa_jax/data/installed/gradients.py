"""Gradients: coordinates of the rows of a series in which rows that go together are near each other."""

import numpy as np

KEPT = 0.1  # share of the strongest correlations of a row that count


def gradients(correlation: np.ndarray, count: int) -> np.ndarray:
    """Return the first coordinates of a diffusion map of rows, [R, count].

    Margulies et al., "Situating the default-mode network along a principal gradient of macroscale cortical
    organization", 2016, after Coifman & Lafon, "Diffusion maps", 2006, with alpha = 1/2.

    Args:
      correlation: Correlations of the rows, [R, R].
      count: Number of coordinates, below R.
    """
    strongest = np.where(correlation >= np.quantile(correlation, 1 - KEPT, axis=1, keepdims=True), correlation, 0)
    strongest = np.maximum(strongest, 0)
    unit = strongest / np.linalg.norm(strongest, axis=1, keepdims=True)
    affinity = np.maximum(unit @ unit.T, 0)
    degree = affinity.sum(axis=1) ** -0.5
    affinity = degree[:, None] * affinity * degree
    root = affinity.sum(axis=1) ** -0.5
    values, vectors = np.linalg.eigh(root[:, None] * affinity * root)
    order = np.argsort(values)[::-1][1 : count + 1]  # the first is constant
    found = root[:, None] * vectors[:, order] * values[order]
    return found * np.sign(found[np.abs(found).argmax(axis=0), np.arange(count)])
