"""Tangent spaces of the manifold that samples lie on, estimated from their neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

CHUNK_NUMBERS = 2**23  # numbers in the distances or the neighbours of one chunk: 32 MiB, or 64 MiB in float64


def estimate_tangents(
    xs: ArrayLike, dim: int, neighbours: int | None = None, queries: ArrayLike | None = None
) -> np.ndarray:
    """Estimate orthonormal bases of tangent spaces by principal components of the nearest neighbours.

    The components are taken about the mean of the neighbourhood, including the sample itself. About the sample, the
    curvature, which bends all neighbours the same way, would count as spread in the normal direction: the median angle
    to the exact tangent is two to five times larger on spheres, 1.5 times on a swiss roll, and the same within a tenth
    on `sprites` (LOG.md). A sample is distinguished from its neighbours by its index in `xs`, so duplicates are
    neighbours.

    Kambhatla & Leen, "Dimension reduction by local principal component analysis", Neural Computation 9 (1997).

    Args:
      xs: Samples [N, ...] of D numbers each, among which the neighbours are searched. **Distances are Euclidean over
        all numbers**, so scale numbers that have different units.
      dim: Dimension d of the manifold.
      neighbours: Number of neighbours; None uses max(20, 6 d), at most N - 1. More neighbours average out randomness,
        until the neighbourhood is so wide that the manifold bends in it: 4 d to 6 d are best on `sprites`, more on
        spheres.
      queries: Samples [Q, ...] at which to estimate, instead of at xs. A query that is also in `xs` is its own
        neighbour.

    Returns:
      Bases [N, D, d] or [Q, D, d] as float32. The columns of each are orthonormal, in descending order of spread.

    Raises:
      ValueError: If d is below 1, above D or above the neighbours; there are fewer samples than neighbours + 1; the
        queries have another size; or a number is not finite.
    """
    points = _flat(xs, "xs")
    count, size = points.shape
    if neighbours is None:
        neighbours = max(1, min(max(20, 6 * dim), count - 1))
    if not 1 <= dim <= size:
        raise ValueError(f"dim is {dim}, but a sample has {size} numbers; use 1 .. {size} dimensions")
    if count < neighbours + 1:
        raise ValueError(f"{neighbours} neighbours need {neighbours + 1} samples, not {count}; give more or use fewer")
    if neighbours < dim:
        raise ValueError(
            f"{neighbours} neighbours span at most {neighbours} dimensions, not {dim}; use more neighbours"
        )
    at = points if queries is None else _flat(queries, "queries")
    if at.shape[1] != size:
        raise ValueError(f"queries have {at.shape[1]} numbers each and xs has {size}; use samples of the same shape")

    # Subtract the common mean first, to limit the rounding error of distances from |a|^2 + |b|^2 - 2 ab.
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
    """Return the indices [C, k] of the nearest points, without the points themselves, whose indices are `own` [C]."""
    product = jnp.matmul(at, cloud.T, precision="highest")  # a GPU's default precision would confuse the neighbours
    closeness = 2 * product - jnp.sum(cloud**2, axis=1)[None]
    if own is not None:
        closeness = closeness.at[jnp.arange(len(at)), own].set(-jnp.inf)
    return np.asarray(jax.lax.top_k(closeness, neighbours)[1])


def _principal(patch: np.ndarray, dim: int) -> np.ndarray:
    """Return the first `dim` right singular vectors of each patch [C, k + 1, D], as columns: [C, D, dim].

    They are computed from the smaller Gram matrix in float64: an SVD of every patch took 35 times as long at k = 48,
    D = 784. A Gram matrix squares the span of the spectrum, but this does not affect its largest vectors.
    """
    patch = patch.astype(np.float64)
    across = patch.swapaxes(1, 2)
    if patch.shape[1] < patch.shape[2]:
        leading = np.linalg.eigh(patch @ across)[1][:, :, : -dim - 1 : -1]
        return np.linalg.qr(across @ leading)[0]  # orthonormal even if a patch spans fewer directions
    return np.linalg.eigh(across @ patch)[1][:, :, : -dim - 1 : -1]
