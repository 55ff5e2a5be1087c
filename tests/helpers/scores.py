"""Scores from singular values, as the paper's listing has them."""

import math
from pathlib import Path

import numpy as np

from jepa_jax import Encoder


def expected_scores(sigma: np.ndarray, encoder: Encoder, eps: float = 1e-6) -> np.ndarray:
    """The paper's sum [N] of singular values [N, R], with what is null by construction counted as log(eps)."""
    live = min(encoder.dim - encoder.null_directions, sigma.shape[1])
    return np.log(np.maximum(sigma[:, :live], eps)).sum(1) + (sigma.shape[1] - live) * math.log(eps)


def unfinished(folder: Path) -> list[Path]:
    """Hidden files of calls that did not end; a finished table keeps its rows and the spectra of its picture."""
    kept = (".000000000.done", ".spectra.npz")
    return [path for path in folder.glob(".*") if not path.name.endswith(kept)]
