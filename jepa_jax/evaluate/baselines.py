"""Separating two sets of samples, and the simple detectors a score must be shown beside."""

import io
import zlib

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def auroc(typical: ArrayLike, outlying: ArrayLike) -> float:
    """Probability that a typical sample scores above an outlying one, ties counted half (Mann-Whitney)."""
    a, b = np.asarray(typical, np.float64), np.asarray(outlying, np.float64)
    ranks = stats.rankdata(np.concatenate([a, b]))
    return float((ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def knn_distance(fit: ArrayLike, query: ArrayLike, k: int = 10) -> np.ndarray:
    """Distance of each query [M, F] to its k-th nearest row of fit [N, F]: [M]; large is outlying."""
    from sklearn.neighbors import NearestNeighbors

    fit, query = np.asarray(fit), np.asarray(query)
    index = NearestNeighbors(n_neighbors=min(k, len(fit))).fit(fit)
    return index.kneighbors(query)[0][:, -1]


def mahalanobis(fit: ArrayLike, query: ArrayLike) -> np.ndarray:
    """Mahalanobis distance of each query [M, F] from the Gaussian fitted to fit [N, F]: [M]; large is outlying.

    The covariance is shrunk towards a multiple of the identity as Ledoit and Wolf do, so that N < F is no trouble.
    """
    from sklearn.covariance import LedoitWolf

    return np.sqrt(LedoitWolf().fit(np.asarray(fit, np.float64)).mahalanobis(np.asarray(query, np.float64)))


def compressed_size(xs: ArrayLike) -> np.ndarray:
    """Bytes that each sample [N, ...] takes after compression: [N]. PNG for images of 1 or 3 channels in [0, 1]."""
    xs = np.asarray(xs)
    low, high = xs.min(), xs.max()
    levels = np.round(255 * (xs - low) / max(high - low, 1e-12)).astype(np.uint8)
    if xs.ndim == 4 and xs.shape[-1] in (1, 3):
        from PIL import Image

        return np.array([_png_size(Image.fromarray(a.squeeze(-1) if a.shape[-1] == 1 else a)) for a in levels])
    return np.array([len(zlib.compress(a.tobytes(), 9)) for a in levels])


def _png_size(image) -> int:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.tell()
