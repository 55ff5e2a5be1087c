"""Label accuracy of a frozen embedding by nearest neighbours and a linear classifier, with PCA as a baseline."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

CHUNK_SAMPLES = 512  # test samples compared at once with all training samples
# Threads for many small products: on busy cores, waiting for a second thread took tens of times as long.
NUM_THREADS = 1


def knn_accuracy(
    train_z: ArrayLike,
    train_y: ArrayLike,
    test_z: ArrayLike,
    test_y: ArrayLike,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Return the accuracy of weighted nearest neighbours.

    Each of the k most similar embeddings votes with the weight exp(cosine similarity / temperature). Wu et al.,
    "Unsupervised feature learning via non-parametric instance discrimination", arXiv 1805.01978, and DINO.

    Args:
      train_z: Training embeddings [N, K]; only their directions matter.
      train_y: Training labels [N], of any type that can be compared.
      test_z: Test embeddings [M, K]; only their directions matter.
      test_y: Test labels [M].
      k: Number of neighbours, at most N; a larger number is reduced to N.
      temperature: Temperature of the vote.

    Returns:
      The accuracy, 0 .. 1; NaN if an embedding is not finite, or the training labels have one class only.

    Raises:
      ValueError: If the shapes do not fit.
    """
    fit, fit_y, query, query_y = _checked(train_z, train_y, test_z, test_y)
    if _says_nothing(fit, fit_y, query):
        return float("nan")
    fit, query = _unit(fit), _unit(query)
    classes, label = np.unique(fit_y, return_inverse=True)
    k = min(k, len(fit))
    right = 0
    for start in range(0, len(query), CHUNK_SAMPLES):
        similarity = query[start : start + CHUNK_SAMPLES] @ fit.T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        closeness = np.take_along_axis(similarity, nearest, axis=1)
        # Relative to the nearest neighbour, so that the votes do not all underflow at a low temperature.
        weight = np.exp((closeness - closeness.max(axis=1, keepdims=True)) / temperature)
        ballot = np.arange(len(nearest))[:, None] * len(classes) + label[nearest]
        votes = np.bincount(ballot.ravel(), weight.ravel(), len(nearest) * len(classes))
        winner = classes[votes.reshape(len(nearest), len(classes)).argmax(axis=1)]
        right += int((winner == query_y[start : start + CHUNK_SAMPLES]).sum())
    return right / len(query)


def linear_probe(
    train_z: ArrayLike, train_y: ArrayLike, test_z: ArrayLike, test_y: ArrayLike, l2: float = 1.0
) -> float:
    """Return the accuracy of multinomial logistic regression on standardised embeddings.

    Ridge regression on one-hot labels is faster, but lost six points on digits where K is near the number of classes.

    Args:
      train_z: Training embeddings [N, K], whose mean and scale standardise each coordinate.
      train_y: Training labels [N], of any type that can be compared.
      test_z: Test embeddings [M, K], standardised with the same mean and scale.
      test_y: Test labels [M].
      l2: Weight of half the squared coefficients, which are added to the sum of the N losses.

    Returns:
      The accuracy, 0 .. 1; NaN if an embedding is not finite, or the training labels have one class only.

    Raises:
      ValueError: If the shapes do not fit.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    fit, fit_y, query, query_y = _checked(train_z, train_y, test_z, test_y)
    if _says_nothing(fit, fit_y, query):
        return float("nan")
    mean, scale = fit.mean(axis=0), fit.std(axis=0)
    scale[scale == 0] = 1
    with warnings.catch_warnings(), threadpool_limits(NUM_THREADS):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the accuracy hardly changes close to convergence
        model = LogisticRegression(C=1 / l2, max_iter=200).fit((fit - mean) / scale, fit_y)
        return float(model.score((query - mean) / scale, query_y))


def pca(train_x: ArrayLike, width: int) -> Callable[[ArrayLike], np.ndarray]:
    """Fit principal components: the linear embedding of the same width, which a learned embedding must surpass.

    Args:
      train_x: Samples [N, ...].
      width: K; a number above min(N, D) is reduced to it.

    Returns:
      A function from samples [M, ...] to embeddings [M, K], centred and not whitened.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    fit = _flat(train_x)
    with threadpool_limits(NUM_THREADS):
        # The seed matters only for large data, where random projections are used to find the components.
        model = PCA(min(width, *fit.shape), random_state=0).fit(fit)
    return lambda x: model.transform(_flat(x))


def _checked(
    train_z: ArrayLike, train_y: ArrayLike, test_z: ArrayLike, test_y: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    fit, query = np.asarray(train_z, np.float32), np.asarray(test_z, np.float32)
    fit_y, query_y = np.asarray(train_y), np.asarray(test_y)
    fits = fit.ndim == query.ndim == 2 and fit.shape[1] == query.shape[1] and len(fit) > 0 and len(query) > 0
    if not fits or fit_y.shape != fit.shape[:1] or query_y.shape != query.shape[:1]:
        shapes = ", ".join(str(a.shape) for a in (fit, fit_y, query, query_y))
        raise ValueError(f"a probe takes [N, K], [N], [M, K] and [M], not {shapes}")
    return fit, fit_y, query, query_y


def _says_nothing(fit: np.ndarray, fit_y: np.ndarray, query: np.ndarray) -> bool:
    """Return whether no accuracy can be stated: with one class, every answer would be right without learning."""
    return bool((fit_y == fit_y[0]).all()) or not (np.isfinite(fit).all() and np.isfinite(query).all())


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _flat(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    return x.reshape(len(x), -1)
