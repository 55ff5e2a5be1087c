"""JEPA-SCORE: the sum of the log singular values of the encoder's Jacobian."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.density.jacobian import Mode, jacobian

EPS = 1e-6  # the paper's listing
MEMORY = 256 * 2**20  # bytes that the Jacobians of one batch may take


class Score(NamedTuple):
    """What scoring one sample gives (a leading axis each after `vmap`).

    Attributes:
      score: JEPA-SCORE, sum_r log max(sigma_r, eps), in nats.
      clipped: how many singular values are at or below eps, or null by construction.
      singular_values: [R], descending, R = min(K, D), not clipped.
      embedding: f(x), [K].
    """

    score: Array
    clipped: Array
    singular_values: Array
    embedding: Array


def singular_values(f: Callable[[Array], Array], x: Array, *, mode: Mode = "auto", chunk: int | None = None) -> Array:
    """Singular values of df/dx at one sample: [R], descending, R = min(K, D). Arguments as in `jacobian`."""
    j = jacobian(f, x, mode=mode, chunk=chunk)
    # Of the wide or the tall matrix alike: LAPACK's cost goes with the longer side either way.
    return jnp.linalg.svd(j, compute_uv=False)


def jepa_score(
    f: Callable[[Array], Array],
    x: Array,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    null_directions: int | None = None,
) -> Array:
    """The log-density of one sample that the encoder has learned, up to one constant per encoder.

    score(x) = sum_r log max(sigma_r(J_f(x)), eps). Balestriero, Ballas, Rabbat & LeCun, "Gaussian embeddings: how
    JEPAs secretly learn your data density", arXiv 2510.05949, eq. 5 and its listing.

    Args:
      f: one sample -> [K]; pure.
      x: one sample, floating point, any shape.
      eps: smallest singular value that counts as itself.
      mode, chunk: as in `jacobian`.
      null_directions: output directions that are constant by construction, as on a sphere; each one within the
        R values contributes exactly log(eps) instead of rounding noise. None reads `f.null_directions`, or 0.

    Returns:
      A scalar, in nats; higher is more typical. **Scores of two encoders are not comparable.**

    Raises:
      ValueError: as `jacobian`.
    """
    return evaluate(f, x, eps, mode=mode, chunk=chunk, null_directions=null_directions).score


def evaluate(
    f: Callable[[Array], Array],
    x: Array,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    null_directions: int | None = None,
) -> Score:
    """Score, clip count, singular values and embedding of one sample. Arguments as in `jepa_score`."""
    if eps <= 0:
        raise ValueError(f"eps is {eps}; it must be positive")
    sigma = singular_values(f, x, mode=mode, chunk=chunk)
    nulls: int = getattr(f, "null_directions", 0) if null_directions is None else null_directions
    z = f(x)
    rank, dim = sigma.shape[0], z.shape[0]
    # With K > D the constant directions are among the K - R that J cannot reach anyway.
    null = max(0, rank - (dim - nulls))
    kept = sigma[: rank - null]
    score = jnp.sum(jnp.log(jnp.maximum(kept, eps))) + null * math.log(eps)
    return Score(score, jnp.sum(kept <= eps) + null, sigma, z)


def score_samples(
    f: Callable[[Array], Array],
    xs: Array | np.ndarray,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    batch_size: int | None = None,
) -> Array:
    """JEPA-SCORE of many samples: compiled once, batched, memory bounded.

    Args:
      f: one sample -> [K]. An encoder from `jepa_jax.load` passes its weights as arguments of the compiled function;
        the arrays that any other function closes over become constants in it.
      xs: [N, ...].
      eps, mode, chunk: as in `jepa_score`.
      batch_size: samples at once; None bounds their Jacobians to 256 MiB.

    Returns:
      [N], in nats.

    Raises:
      ValueError: no samples, or as `jacobian`.
    """
    parts = [b.score for b in score_batches(f, xs, eps, mode=mode, chunk=chunk, batch_size=batch_size)]
    return jnp.concatenate(parts)


def score_batches(
    f: Callable[[Array], Array],
    xs: Array | np.ndarray,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    batch_size: int | None = None,
) -> Iterator[Score]:
    """As `score_samples`, but everything in `Score`, and a batch at a time."""
    if len(xs) == 0:
        raise ValueError("there are no samples to score")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    leaves = jax.tree.leaves(f)
    # A plain function is static to the compiler, a pytree of weights is an argument.
    function = jax.tree_util.Partial(f) if len(leaves) == 1 and leaves[0] is f else f
    null_directions = getattr(f, "null_directions", 0)
    out = jax.eval_shape(f, jnp.asarray(xs[0]))
    dim = getattr(out, "size", 1)  # what is no array is refused by `jacobian`, with a better message
    size = batch_size or default_batch_size(len(xs), math.prod(xs.shape[1:]), dim)
    for start in range(0, len(xs), size):
        batch = jnp.asarray(xs[start : start + size])
        count = len(batch)
        if count < size:  # padded, so that the last batch needs no second compilation
            batch = jnp.concatenate([batch, jnp.broadcast_to(batch[-1:], (size - count, *batch.shape[1:]))])
        result = _compiled(function, batch, eps, mode, chunk, null_directions)
        yield jax.tree.map(lambda a, n=count: a[:n], result)


def default_batch_size(samples: int, size: int, dim: int) -> int:
    """Samples whose Jacobians, with as much again eight times for activations and the SVD, stay within MEMORY."""
    return max(1, min(samples, 4096, MEMORY // (4 * size * dim * 8)))


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _compiled(f: Any, batch: Array, eps: float, mode: Mode, chunk: int | None, null_directions: int) -> Score:
    return jax.vmap(lambda x: evaluate(f, x, eps, mode=mode, chunk=chunk, null_directions=null_directions))(batch)
