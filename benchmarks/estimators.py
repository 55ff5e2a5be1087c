"""Density estimators of scikit-learn that a user could take instead, fitted to samples."""

from collections.abc import Callable

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity

from jepa_jax.evaluate import knn_distance

FIT_SAMPLES = 10_000  # samples to which the estimators are fitted
BANDWIDTH_SAMPLES = 2000  # samples among these on which the bandwidth is chosen
BANDWIDTHS = np.geomspace(0.03, 1.5, 18)  # in units of the data's standard deviation
COMPONENT_COUNTS = (4, 8, 16)
NEIGHBOURS = 10


def kernel(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return the log-density of a Gaussian kernel estimate, with the bandwidth of the best cross-validated likelihood.

    Args:
      fit: Samples [N, D] to which the estimator is fitted; five-fold cross-validation uses the first of them.
      query: Samples [M, D] at which the density is estimated.
      seed: Not used.
    """
    del seed
    size = fit.shape[1]
    grid = BANDWIDTHS * fit.std(axis=0).mean()
    search = GridSearchCV(KernelDensity(), {"bandwidth": grid}, cv=5).fit(fit[:BANDWIDTH_SAMPLES])
    # Silverman's rate converts the choice to the larger sample: h ~ n^(-1 / (D + 4)).
    bandwidth = search.best_params_["bandwidth"] * (0.8 * BANDWIDTH_SAMPLES / len(fit)) ** (1 / (size + 4))
    # A relative tolerance of 1e-4 is 1e-4 nats; without a tolerance the estimator visits every pair.
    density = KernelDensity(bandwidth=bandwidth, rtol=1e-4)  # type: ignore[arg-type]
    return density.fit(fit).score_samples(query)


def mixture(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return the log-density of a Gaussian mixture with full covariances and the number of components of the best BIC.

    On the worlds that are mixtures, this estimator knows the family of the true density.

    Args:
      fit: Samples [N, D] to which the estimator is fitted.
      query: Samples [M, D] at which the density is estimated.
      seed: Seed of the initialisation.
    """
    models = [GaussianMixture(n, random_state=seed).fit(fit) for n in COMPONENT_COUNTS]
    return min(models, key=lambda m: m.bic(fit)).score_samples(query)


def neighbours(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return the k-NN estimate of the log-density up to a constant: -D log of the distance to the k-th neighbour.

    Args:
      fit: Samples [N, D] among which the neighbours are searched.
      query: Samples [M, D] at which the density is estimated.
      seed: Not used.
    """
    del seed
    return -fit.shape[1] * np.log(knn_distance(fit, query, NEIGHBOURS))


ESTIMATORS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "Gaussian KDE": kernel,
    "Gaussian mixture": mixture,
    "k-NN distance": neighbours,
}
