"""Verdict on an embedding (collapsed, folding or healthy), with a sentence that says what to change."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Health(NamedTuple):
    """Verdict (`healthy`, `collapsed`, `low-rank`, `folding`), and a sentence that says what to change.

    The verdict of a map that cannot fold, if it has not collapsed, is `injective`: rank and neighbours say nothing
    about it.
    """

    verdict: str
    sentence: str


@jax.jit
def fold_fraction(x: Array, z: Array) -> Array:
    """Return the fraction of samples whose nearest neighbour in the embedding is far away in the data.

    Far means beyond the nearest 5 % of all samples. A map that folds one part of the data onto another has many such
    samples; a map that preserves neighbourhoods has few.

    Args:
      x: Samples [N, ...], with N up to a few thousand (the computation needs N^2 numbers).
      z: Their embeddings [N, K].
    """
    flat = x.reshape(len(x), -1)

    def square(a: Array) -> Array:
        norm = jnp.sum(a**2, axis=1)
        return norm[:, None] + norm[None, :] - 2 * a @ a.T + jnp.diag(jnp.full(len(a), jnp.inf))

    between, embedded = square(flat), square(z)
    neighbour = jnp.argmin(embedded, axis=1)
    distance = jnp.take_along_axis(between, neighbour[:, None], axis=1)
    return jnp.mean(jnp.mean(between < distance, axis=1) > 0.05)


def diagnose(
    *,
    spread: float,
    effective_rank: float,
    folded: float,
    size: int,
    dim: int,
    output: str,
    base: str | None,
    injective: bool = False,
) -> Health:
    """Return the verdict on an embedding.

    Args:
      spread: Root mean square distance of the embeddings from their mean; 1 on a healthy sphere, sqrt(K) for N(0, I).
      effective_rank: Effective rank (RankMe).
      folded: Fraction of samples that are folded, as returned by `fold_fraction`.
      size: D, the number of input numbers.
      dim: K, the dimension of the embedding.
      output: `sphere` or `free`.
      base: Base distribution of the embedding, or None.
      injective: Whether the encoder cannot fold.
    """
    full = 1.0 if output == "sphere" else float(np.sqrt(dim))
    if not np.isfinite(spread):
        return Health("collapsed", "the embedding is not finite: lower `optim.lr` or set `optim.clip_norm` 1")
    if spread < 0.05 * full:
        return Health(
            "collapsed",
            f"collapsed: all samples have nearly the same embedding (spread {spread:.2g}, {full:.2g} when healthy); "
            "raise `objective.weight`, or use an `objective.anti_collapse` other than none",
        )
    if injective:
        return Health("injective", "it cannot fold; judge it by the log-density of samples it was not trained on")
    # A D-dimensional world needs D directions. With K < D, as for images, a quarter of the K directions should be used.
    needed = 0.75 * size if size <= dim else 0.25 * dim
    if effective_rank < needed:
        return Health(
            "low-rank",
            f"losing dimensions: the embedding uses {effective_rank:.1f} of its {dim} directions; "
            "raise `objective.weight` or lower `data.noise`",
        )
    if folded > 0.15:
        remedy = (
            "more training, a larger `data.batch_size` or `encoder.skip` help"
            if base == "normal" and dim == size
            else "raise `encoder.dim` above twice the data's dimension, or lower `objective.weight`"
        )
        return Health(
            "folding", f"folding: {folded:.0%} of the samples have a far-away sample as nearest neighbour; {remedy}"
        )
    return Health("healthy", f"healthy: {effective_rank:.1f} effective directions, {folded:.0%} of the samples folded")
