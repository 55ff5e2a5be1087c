"""Law of the embeddings, measured among known embeddings instead of assumed."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from scipy.special import gammaln, logsumexp

Law = Literal["knn", "kde"]
LAW_NEIGHBOUR = 30  # whose distance is the radius of a ball in which the density is taken as constant
REFERENCE_SAMPLES = 10_000  # embeddings among which a law is measured
BANDWIDTHS = np.geomspace(0.1, 1.0, 8)  # of a kernel, over the median distance of that neighbour
JUDGES = 500  # known embeddings by which a bandwidth is chosen
SAME = 1e-3  # an embedding at less than this fraction of the distance of that neighbour is the query itself
LEAST_DISTANCE = 1e-12  # of copies, whose density would be infinite


class MeasuredLaw:
    """Density of embeddings among known ones, with respect to the volume of the surface on which they lie.

    With the score it gives the log-density of the samples, log p(x) = log q(f(x)) + score(x): the change of variables
    with nothing assumed about the law of the embeddings. Embeddings are nearly uniform where training succeeded, so
    that a ball or a kernel of one size there adapts to the data. A query that is among the known ones is left out.
    """

    def __init__(self, kind: Law, known: ArrayLike, size: int) -> None:
        """Take the known embeddings.

        Args:
          kind: `knn`, by the distance of the 30th neighbour; `kde`, by Gaussian kernels whose bandwidth is chosen by
            the likelihood of some known embeddings, up to the distance of that neighbour. A wider kernel would leave
            the surface, and its likelihood would mean nothing.
          known: Embeddings [n, K], finite.
          size: Dimension of the surface on which they lie: the smaller of D and K, without the radius of a sphere.

        Raises:
          ValueError: If there are fewer known embeddings than neighbours.
        """
        from sklearn.neighbors import NearestNeighbors  # imported here, because it takes a second

        self.kind, self.size = kind, size
        self._known = np.asarray(known, np.float64)
        if len(self._known) <= LAW_NEIGHBOUR:
            raise ValueError(f"a law is measured among more than {LAW_NEIGHBOUR} embeddings, not {len(self._known)}")
        self._neighbours = NearestNeighbors(n_neighbors=LAW_NEIGHBOUR + 1).fit(self._known)
        self.bandwidth = self._choose() if kind == "kde" else None

    def __call__(self, z: ArrayLike) -> np.ndarray:
        """Return the log-density [N] of embeddings [N, K], in nats; NaN where one is not finite."""
        queries = np.asarray(z, np.float64)
        found = np.full(len(queries), np.nan)
        if (finite := np.isfinite(queries).all(axis=1)).any():
            at = queries[finite]
            found[finite] = self._balls(at) if self.bandwidth is None else self._kernels(at, self.bandwidth)
        return found

    def _radius(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance of the 30th neighbour [N], and whether the query itself is known [N]."""
        distances = self._neighbours.kneighbors(z)[0]
        itself = distances[:, 0] < SAME * distances[:, -1]
        return np.maximum(np.where(itself, distances[:, -1], distances[:, -2]), LEAST_DISTANCE), itself

    def _balls(self, z: np.ndarray) -> np.ndarray:
        radius, itself = self._radius(z)
        ball = 0.5 * self.size * np.log(np.pi) - gammaln(0.5 * self.size + 1)  # log-volume of the unit ball
        return np.log(LAW_NEIGHBOUR) - np.log(len(self._known) - itself) - ball - self.size * np.log(radius)

    def _kernels(self, z: np.ndarray, bandwidth: float) -> np.ndarray:
        _, itself = self._radius(z)
        exponents = cdist(z, self._known, "sqeuclidean") / (-2 * bandwidth**2)
        exponents[itself, np.argmax(exponents[itself], axis=1)] = -np.inf
        return (
            logsumexp(exponents, axis=1)
            - np.log(len(self._known) - itself)
            - 0.5 * self.size * np.log(2 * np.pi * bandwidth**2)
        )

    def _choose(self) -> float:
        judges = self._known[:: max(1, len(self._known) // JUDGES)]
        median = float(np.median(self._radius(judges)[0]))
        return max((float(b) * median for b in BANDWIDTHS), key=lambda b: float(self._kernels(judges, b).mean()))
