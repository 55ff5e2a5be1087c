"""Tangent spaces of the manifold that samples lie on, from their neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

CHUNK_NUMBERS = 2**23  # in one chunk's distances, or in its neighbours: 32 MiB, twice that in float64


def estimate_tangents(
    xs: ArrayLike, dim: int, neighbours: int | None = None, queries: ArrayLike | None = None
) -> np.ndarray:
    """Orthonormal bases of tangent spaces, by principal components of the nearest neighbours.

    The components are taken about the mean of the neighbourhood, the sample itself included. About the sample, the
    curvature, which bends all neighbours the same way, counts as spread in the normal direction: the median angle to
    the exact tangent is two to five times larger on spheres, 1.5 times on a swiss roll, and the same within a tenth on
    `sprites` (LOG.md). A sample is told from its neighbours by its place in `xs`, so duplicates are neighbours.

    Kambhatla & Leen, "Dimension reduction by local principal component analysis", Neural Computation 9 (1997).

    Args:
      xs: [N, ...], the samples whose neighbours are taken, D numbers each. **Distances are Euclidean over all of
        them**, so scale what is not of one unit.
      dim: d, the manifold's dimension.
      neighbours: how many; None takes max(20, 6 d), or all there are. More average out what is random, until the
        neighbourhood is so wide that the manifold bends in it: on `sprites` 4 d to 6 d are best, on spheres more.
      queries: [Q, ...], samples at which to estimate instead of at xs; one that is also in `xs` is its own neighbour.

    Returns:
      [N, D, d] or [Q, D, d], float32; the columns of each are orthonormal, the one of most spread first.

    Raises:
      ValueError: d below 1, above D or above the neighbours; fewer samples than neighbours + 1; queries of another
        size; numbers that are not finite.
    """
    points = _flat(xs, "xs")
    count, size = points.shape
    if neighbours is None:
        neighbours = max(1, min(max(20, 6 * dim), count - 1))
    if not 1 <= dim <= size:
        raise ValueError(f"dim is {dim}, but a sample has {size} numbers; ask for 1 .. {size} dimensions")
    if count < neighbours + 1:
        raise ValueError(f"{neighbours} neighbours need {neighbours + 1} samples, not {count}; give more, or ask less")
    if neighbours < dim:
        raise ValueError(f"{neighbours} neighbours span at most as many dimensions, not {dim}; ask for more neighbours")
    at = points if queries is None else _flat(queries, "queries")
    if at.shape[1] != size:
        raise ValueError(f"queries have {at.shape[1]} numbers each and xs {size}; give samples of one shape")

    # Distances from |a|^2 + |b|^2 - 2 ab lose what all points have in common to rounding: take it off first.
    centre = points.mean(0)
    cloud, at = points - centre, at - centre
    bases = np.empty((len(at), size, dim), np.float32)
    chunk = max(1, CHUNK_NUMBERS // max(count, (neighbours + 1) * size))
    on_device = jnp.asarray(cloud)
    for start in range(0, len(at), chunk):
        here = at[start : start + chunk]
        own = None if queries is not None else np.arange(start, start + len(here))
        nearest = _nearest(jnp.asarray(here), on_device, neighbours, own)
        patch = np.concatenate([here[:, None], cloud[nearest]], axis=1)
        bases[start : start + chunk] = _principal(patch - patch.mean(1, keepdims=True), dim)
    return bases


def _flat(xs: ArrayLike, name: str) -> np.ndarray:
    points = np.asarray(xs, np.float32)
    points = points.reshape(len(points), -1)
    if not np.isfinite(points).all():
        raise ValueError(f"{name} has numbers that are not finite; leave those samples out")
    return points


def _nearest(at: jax.Array, cloud: jax.Array, neighbours: int, own: np.ndarray | None) -> np.ndarray:
    """Indices of the nearest points: [C, k]; `own` [C] are the indices of the points themselves, left out."""
    product = jnp.matmul(at, cloud.T, precision="highest")  # half of a GPU's default would mix up the neighbours
    closeness = 2 * product - jnp.sum(cloud**2, axis=1)[None]
    if own is not None:
        closeness = closeness.at[jnp.arange(len(at)), own].set(-jnp.inf)
    return np.asarray(jax.lax.top_k(closeness, neighbours)[1])


def _principal(patch: np.ndarray, dim: int) -> np.ndarray:
    """The first `dim` right singular vectors of each patch [C, k + 1, D], as columns: [C, D, dim].

    From the smaller Gram matrix, in float64: an SVD of every patch took 35 times as long at k = 48, D = 784. That a
    Gram matrix squares the span of the spectrum does no harm to its largest vectors.
    """
    patch = patch.astype(np.float64)
    across = patch.swapaxes(1, 2)
    if patch.shape[1] < patch.shape[2]:
        leading = np.linalg.eigh(patch @ across)[1][:, :, : -dim - 1 : -1]
        return np.linalg.qr(across @ leading)[0]  # orthonormal even where a patch has fewer directions than that
    return np.linalg.eigh(across @ patch)[1][:, :, : -dim - 1 : -1]
