"""The density estimators that a user would take instead: scikit-learn's, fitted to samples."""

from collections.abc import Callable

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from jepa_jax.evaluate import knn_distance

FIT = 10_000  # samples they are fitted to
SELECT = 2000  # of these, the ones the bandwidth is chosen on
BANDWIDTHS = np.geomspace(0.03, 1.5, 18)  # times the data's standard deviation
COMPONENTS = (4, 8, 16)
NEIGHBOURS = 10


def kernel(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian kernel density, its bandwidth chosen by five-fold cross-validated likelihood."""
    del seed
    size = fit.shape[1]
    grid = BANDWIDTHS * fit.std(axis=0).mean()
    search = GridSearchCV(KernelDensity(), {"bandwidth": grid}, cv=5).fit(fit[:SELECT])
    # Silverman's rate carries the choice over to the larger sample: h ~ n^(-1 / (D + 4)).
    bandwidth = search.best_params_["bandwidth"] * (0.8 * SELECT / len(fit)) ** (1 / (size + 4))
    # A relative tolerance of 1e-4 is 1e-4 nats; without one it visits every pair.
    density = KernelDensity(bandwidth=bandwidth, rtol=1e-4)  # type: ignore[arg-type]
    return density.fit(fit).score_samples(query)


def mixture(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian mixture with full covariances, the number of components chosen by BIC. It knows the mixtures' family."""
    models = [GaussianMixture(n, random_state=seed).fit(fit) for n in COMPONENTS]
    return min(models, key=lambda m: m.bic(fit)).score_samples(query)


def neighbours(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """-D log of the distance to the k-th neighbour: the k-NN estimate of the log-density, up to a constant."""
    del seed
    return -fit.shape[1] * np.log(knn_distance(fit, query, NEIGHBOURS))


ESTIMATORS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "Gaussian KDE": kernel,
    "Gaussian mixture": mixture,
    "k-NN distance": neighbours,
}
