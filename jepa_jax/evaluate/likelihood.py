"""Densities that need no truth to be judged: weights of a mixture of densities, and the baselines beside it."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

EM_STEPS = 500
EM_TOLERANCE = 1e-6  # nats a sample, below which a further step is not worth taking
BASELINE_SAMPLES = 18_000  # rows on which the baselines are fitted; more take minutes
SELECTION_SAMPLES = 2_000  # rows by which a bandwidth is chosen
BANDWIDTHS = np.geomspace(0.02, 1.5, 14)  # of a kernel, in deviations
COMPONENTS = (1, 2, 4, 8, 12, 16, 24, 32)
MIXTURE_SAMPLES = 10_000  # rows on which the number of components is chosen


class Baselines(NamedTuple):
    """Log-densities of held-out samples under other densities, in nats, or None if they could not be fitted.

    Attributes:
      kde: Kernel density estimate [N].
      gmm: Gaussian mixture [N].
      bandwidth: Bandwidth of the kernel, in deviations.
      components: Number of components of the mixture.
    """

    kde: np.ndarray
    gmm: np.ndarray | None
    bandwidth: float
    components: int


def mixture_weights(log_densities: ArrayLike) -> np.ndarray:
    """Return the weights [M] under which the mixture of densities gives samples the highest likelihood, by EM.

    Args:
      log_densities: Log-densities [N, M] of samples that the densities were not fitted to, in nats.
    """
    logs = np.asarray(log_densities, np.float64)
    weights, before = np.full(logs.shape[1], 1 / logs.shape[1]), -np.inf
    for _ in range(EM_STEPS):
        with np.errstate(divide="ignore"):
            joint = logs + np.log(weights)
        total = np.asarray(logsumexp(joint, axis=1))
        weights = np.exp(joint - total[:, None]).mean(axis=0)
        if (likelihood := float(total.mean())) - before < EM_TOLERANCE:
            break
        before = likelihood
    return weights / weights.sum()


def mixture_log_density(log_densities: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Return the log-density [N] of a mixture, in nats, from those of its members [N, M] and their weights [M]."""
    return np.asarray(logsumexp(np.asarray(log_densities, np.float64), axis=1, b=np.asarray(weights, np.float64)))


def spread(log_densities: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """Return the weighted standard deviation [N] of the members' log-densities [N, M], in nats."""
    logs, w = np.asarray(log_densities, np.float64), np.asarray(weights, np.float64)
    mean = logs @ w
    return np.sqrt(np.maximum((logs - mean[:, None]) ** 2 @ w, 0))


def baselines(train: np.ndarray, held_out: np.ndarray, mean: ArrayLike, scale: ArrayLike) -> Baselines:
    """Fit a kernel density estimate and a Gaussian mixture, and return their log-densities of held-out samples.

    The kernel is Gaussian and isotropic in deviations; a part of the training rows chooses its bandwidth by likelihood.
    The mixture has full covariances; the Bayesian information criterion chooses its number of components.

    Args:
      train: Training rows [N, D].
      held_out: Other rows [n, D].
      mean: Mean of the columns.
      scale: Standard deviation of the columns. Log-densities are those of the columns in their own units.
    """
    rng = np.random.default_rng(0)
    known = (train[rng.permutation(len(train))[:BASELINE_SAMPLES]] - mean) / np.asarray(scale)
    judged = (held_out - mean) / np.asarray(scale)
    units = float(np.log(np.broadcast_to(np.asarray(scale, np.float64), train.shape[1:])).sum())
    kde, bandwidth = _kernel(known.astype(np.float64), judged.astype(np.float64))
    gmm, components = _gaussians(known.astype(np.float64), judged.astype(np.float64))
    return Baselines(kde - units, None if gmm is None else gmm - units, bandwidth, components)


def _kernel(known: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, float]:
    apart = max(1, min(SELECTION_SAMPLES, len(known) // 5))
    best, chosen = -np.inf, float(BANDWIDTHS[-1])
    distances = _squares(known[:apart], known[apart:])
    for bandwidth in BANDWIDTHS:
        found = float(np.mean(_parzen(distances, float(bandwidth), known.shape[1])))
        if found > best:
            best, chosen = found, float(bandwidth)
    return _parzen(_squares(judged, known), chosen, known.shape[1]), chosen


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances [n, N], in float32."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0).astype(np.float32)


def _parzen(squares: np.ndarray, bandwidth: float, size: int) -> np.ndarray:
    """Return the log-densities [n] at squared distances [n, N] from the kernels."""
    least = squares.min(axis=1, keepdims=True)
    total = np.exp((least - squares) / np.float32(2 * bandwidth**2)).sum(axis=1, dtype=np.float64)
    norm = np.log(squares.shape[1]) + 0.5 * size * np.log(2 * np.pi * bandwidth**2)
    return np.log(total) - least[:, 0].astype(np.float64) / (2 * bandwidth**2) - norm


def _gaussians(known: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray | None, int]:
    from sklearn.exceptions import ConvergenceWarning  # imported here, because scikit-learn takes a second to import
    from sklearn.mixture import GaussianMixture

    size, some = known.shape[1], known[:MIXTURE_SAMPLES]
    of_each = size * (size + 1) // 2 + size
    best, least = None, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for components in COMPONENTS:
            if components > 1 and components * of_each > len(some) * size // 4:
                break
            try:
                model = GaussianMixture(components, max_iter=60, tol=1e-3, random_state=0).fit(some)
            except ValueError:  # a component has no volume
                continue
            if (criterion := model.bic(some)) < least:
                best, least = model, criterion
            else:
                break
    return (None, 0) if best is None else (best.score_samples(judged), best.n_components)
