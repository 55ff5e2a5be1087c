"""Separation of two sets of samples, and the simple detectors that a score must be compared with."""

import io
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from jepa_jax.evaluate.dual_gaussian import DualGaussian

NEIGHBOURS = 10


def auroc(typical: ArrayLike, outlying: ArrayLike) -> float:
    """Return the probability that a typical sample scores above an outlying one, ties counted half (Mann-Whitney).

    It is NaN if there are no samples of either kind.
    """
    a, b = np.asarray(typical, np.float64), np.asarray(outlying, np.float64)
    if not len(a) or not len(b):
        return float("nan")
    ranks = stats.rankdata(np.concatenate([a, b]))
    return float((ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def separation(
    typical: Mapping[str, np.ndarray], others: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure how well each detector ranks typical samples above outlying ones.

    Values that are not finite are ignored.

    Args:
      typical: Detector -> values [N]; high is typical.
      others: Set of outliers -> detector -> values [M].

    Returns:
      Set of outliers -> detector -> `auroc` and `auroc_reversed`, which is 1 - auroc; both NaN without finite values.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, other in others.items():
        table[name] = {}
        for detector, values in typical.items():
            value = auroc(*(v[np.isfinite(v)] for v in (values, other[detector])))
            table[name][detector] = {"auroc": value, "auroc_reversed": 1 - value}
    return table


class Detectors:
    """The simple detectors that a score must be compared with, fitted once on samples of the data."""

    def __init__(self, x: ArrayLike, z: ArrayLike) -> None:
        """Fit the detectors on samples [N, ...] and their embeddings [N, K], all finite."""
        self._input, self._embedding = (_Fitted(np.asarray(a).reshape(len(np.asarray(a)), -1)) for a in (x, z))
        # One scale for all sets that are compared.
        self._bounds = float(np.min(x)), float(np.max(x))
        self.failures: dict[str, str] = {}

    def __call__(self, x: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
        """Return each detector's values [M] for samples [M, ...] with embeddings [M, K]; high is typical.

        The values of a detector that fails, such as for lack of memory, are NaN, and `failures` has the reason.
        """
        flat = x.reshape(len(x), -1)
        detectors: dict[str, Callable[[], np.ndarray]] = {
            "k-NN, embedding": lambda: -self._embedding.knn_distance(z),
            "Mahalanobis, embedding": lambda: -self._embedding.mahalanobis(z),
            "k-NN, input": lambda: -self._input.knn_distance(flat),
            "Mahalanobis, input": lambda: -self._input.mahalanobis(flat),
            # Rounded, so that rounding noise is no ranking on a sphere, where the norm is constant.
            "embedding norm": lambda: np.round(np.linalg.norm(z, axis=1), 4),
            "compressed size": lambda: -compressed_size(x, self._bounds).astype(float),
        }
        return {name: self._values(name, detector, len(x)) for name, detector in detectors.items()}

    def _values(self, name: str, detector: Callable[[], np.ndarray], count: int) -> np.ndarray:
        try:
            return detector()
        except (MemoryError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            self.failures[name] = (str(error).splitlines() or [type(error).__name__])[0]
            return np.full(count, np.nan)


def knn_log_density(x: np.ndarray, known: np.ndarray | None = None, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the nearest-neighbour log-density -D log d_k of samples, up to a constant, [N].

    Args:
      x: Samples [N, D], in comparable units.
      known: Other samples [n, D] among which neighbours are searched; None searches among the samples themselves.
      k: Neighbour whose distance counts.
    """
    from sklearn.neighbors import NearestNeighbors

    among, itself = (x, 1) if known is None else (known, 0)
    count = min(k + itself, len(among))
    distance = NearestNeighbors(n_neighbors=count).fit(among).kneighbors(x)[0][:, -1]
    return -x.shape[1] * np.log(np.maximum(distance, np.finfo(np.float32).tiny))


def knn_distance(fit: ArrayLike, query: ArrayLike, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the distance [M] of each query [M, F] to its k-th nearest row of fit [N, F]; large is outlying."""
    return _Fitted(np.asarray(fit), k).knn_distance(np.asarray(query))


def mahalanobis(fit: ArrayLike, query: ArrayLike) -> np.ndarray:
    """Return the Mahalanobis distance [M] of each query [M, F] from the Gaussian of fit [N, F]; large is outlying.

    The covariance is shrunk towards a multiple of the identity by the method of Ledoit and Wolf, so N < F is allowed.
    """
    return _Fitted(np.asarray(fit)).mahalanobis(np.asarray(query))


class _Fitted:
    """Nearest neighbours and a Gaussian of rows [N, F], each fitted on first use."""

    def __init__(self, rows: np.ndarray, k: int = NEIGHBOURS) -> None:
        self._rows, self._k = rows, k

    @cached_property
    def _neighbours(self) -> Any:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=min(self._k, len(self._rows))).fit(self._rows)

    @cached_property
    def _gaussian(self) -> Any:
        if len(self._rows) < self._rows.shape[1]:
            return DualGaussian(self._rows)
        from sklearn.covariance import LedoitWolf

        return LedoitWolf().fit(self._rows.astype(np.float64))

    def knn_distance(self, query: np.ndarray) -> np.ndarray:
        return self._neighbours.kneighbors(query)[0][:, -1]

    def mahalanobis(self, query: np.ndarray) -> np.ndarray:
        gaussian = self._gaussian
        wide = isinstance(gaussian, DualGaussian)  # which converts a few columns at a time
        return np.sqrt(gaussian.mahalanobis(query if wide else query.astype(np.float64)))


def compressed_size(xs: ArrayLike, bounds: tuple[float, float] | None = None) -> np.ndarray:
    """Return the bytes [N] of each sample [N, ...] after compression.

    The format is PNG for images of 1 or 3 channels, and zlib for other samples.

    Args:
      xs: Samples.
      bounds: Values that become 0 and 255; those beyond are cut off. None takes the range of all samples. Sizes are
        comparable only with the same bounds.
    """
    xs = np.asarray(xs)
    low, high = bounds or (xs.min(), xs.max())
    levels = np.round(255 * np.clip((xs - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)
    if xs.ndim == 4 and xs.shape[-1] in (1, 3):
        from PIL import Image

        return np.array([_png_size(Image.fromarray(a.squeeze(-1) if a.shape[-1] == 1 else a)) for a in levels])
    return np.array([len(zlib.compress(a.tobytes(), 9)) for a in levels])


def _png_size(image) -> int:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.tell()
