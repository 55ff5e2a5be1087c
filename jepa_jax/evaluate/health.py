"""Verdict on an embedding (collapsed, folding or healthy), with a sentence that says what to change."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.evaluate.agreement import LEAST_SAMPLES
from jepa_jax.evaluate.likelihood import Baselines

LEAST_AGREEMENT = 0.7  # rank correlation; every planted failure is below it, and every config of a world above
IGNORED = 0.02  # influence of an input number, over the median one
NATS_PER_DIMENSION = 0.02  # by which a density may fall short of a Gaussian mixture, a factor of 1.02 a dimension
MOST_EMBEDDED = 64  # input numbers for which an embedding of twice as many is sensible


class Health(NamedTuple):
    """Verdict, what was found, and what to change.

    Verdicts: `healthy`, only if something beside rank and folding agrees with the density; `unchecked`, if rank and
    folding are well and nothing else can be compared, as for images; `collapsed`, `low-rank`, `folding`,
    `ignores-column`, `disagrees`; `few-rows`; of densities in nats also `kde-better`, `gmm-better`, `degenerate`; and
    `injective` for a map that cannot fold and has no held-out samples.
    """

    verdict: str
    finding: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """Finding and advice."""
        return "; ".join(filter(None, (self.finding, self.advice)))


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
    folded: float | None,
    size: int,
    dim: int,
    output: str,
    base: str | None,
    rows: int,
    injective: bool = False,
    agreement: float | None = None,
    least_column: float = 1.0,
    categories: bool = False,
    noise: bool = True,
    partner_spread: float | None = None,
) -> Health:
    """Return the verdict on an embedding.

    Args:
      spread: Root mean square distance of the embeddings from their mean; 1 on a healthy sphere, sqrt(K) for N(0, I).
      effective_rank: Effective rank (RankMe).
      folded: Fraction of samples that are folded, as returned by `fold_fraction`; None for images, whose distances in
        pixels do not say what is near.
      size: D, the number of input numbers.
      dim: K, the dimension of the embedding.
      output: `sphere` or `free`.
      base: Base distribution of the embedding, or None.
      rows: Number of samples that were evaluated.
      injective: Whether the encoder cannot fold.
      agreement: Rank correlation of the learned log-density with the exact one, or with a nearest-neighbour estimate;
        None if there is neither.
      least_column: Smallest influence of an input number on the embedding, over the median one.
      categories: Whether some input numbers are categories, of which an encoder that cannot fold knows nothing.
      noise: Whether views have noise, which can be lowered.
      partner_spread: The same as `spread`, of the views that are predicted, where their law is another; or None.
    """
    full = 1.0 if output == "sphere" else float(np.sqrt(dim))
    if problem := _collapsed(spread, partner_spread, full):
        return problem
    if rows < LEAST_SAMPLES:
        return Health("few-rows", f"{rows} samples are too few to judge an embedding", "collect more")
    if least_column < IGNORED:
        return Health(
            "ignores-column",
            f"one input number has {least_column:.1%} of the influence of the others: what it says is not learned",
            _either("raise `objective.weight`", "lower `data.noise`" if noise else "", "train longer"),
        )
    if injective and agreement is None:
        return Health("injective", "it cannot fold", "judge it by the log-density of samples it was not trained on")
    if not injective and (problem := _lost(effective_rank, folded, size, dim, base, noise)):
        return problem
    found = f"{effective_rank:.1f} effective directions"
    if folded is not None and not injective:
        found += f", {folded:.0%} of the samples folded"
    return _by_agreement(agreement, found, size if not categories else MOST_EMBEDDED + 1, noise)


def _collapsed(spread: float, partner_spread: float | None, full: float) -> Health | None:
    """Return the verdict on embeddings, or on those that are predicted, that are not finite or one point; or None."""
    if not np.isfinite(spread):
        return Health("collapsed", "the embedding is not finite", "lower `optim.lr` or set `optim.clip_norm` 1")
    if spread < 0.05 * full:
        return Health(
            "collapsed",
            f"collapsed: all samples have nearly the same embedding (spread {spread:.2g}, {full:.2g} when healthy)",
            "raise `objective.weight`, or use an `objective.anti_collapse` other than none",
        )
    if partner_spread is not None and not partner_spread >= 0.05 * full:
        return Health(
            "collapsed",
            "collapsed: all targets have nearly the same embedding "
            f"(spread {partner_spread:.2g}, {full:.2g} when healthy)",
            "raise `objective.weight`, use another `objective.anti_collapse`, or a teacher with `recipe.ema`",
        )
    return None


def _either(*ways: str) -> str:
    """Return the ways that are not empty as alternatives: `a, b, or c`."""
    *first, last = filter(None, ways)
    return f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}" if first else last


def _by_agreement(agreement: float | None, found: str, size: int, noise: bool) -> Health:
    """Return the verdict on an embedding that keeps all dimensions and does not fold, by its agreement."""
    if agreement is None:
        return Health("unchecked", found, "nothing here says whether the density is right")
    if not agreement >= LEAST_AGREEMENT:
        other = "use `encoder.kind` triangular with `objective.anti_collapse` entropy" if size <= MOST_EMBEDDED else ""
        return Health(
            "disagrees",
            "the learned density does not follow the data "
            + ("(it is constant)" if np.isnan(agreement) else f"(rank correlation {agreement:.2f})"),
            _either("lower `data.noise`" if noise else "", "train longer", other),
        )
    return Health("healthy", f"healthy: {found}, rank correlation {agreement:.2f}")


def _lost(
    effective_rank: float, folded: float | None, size: int, dim: int, base: str | None, noise: bool
) -> Health | None:
    """Return the verdict on an embedding that loses dimensions or folds, or None."""
    # A D-dimensional world needs D directions. With K < D, as for images, a quarter of the K directions should be used.
    needed = 0.75 * size if size <= dim else 0.25 * dim
    if effective_rank < needed:
        return Health(
            "low-rank",
            f"losing dimensions: the embedding uses {effective_rank:.1f} of its {dim} directions",
            _either("raise `objective.weight`", "lower `data.noise`" if noise else ""),
        )
    if folded is not None and folded > 0.15:
        remedy = "more training or a larger `data.batch_size` helps"
        if base == "normal" and dim == size:
            remedy = "more training, a larger `data.batch_size` or `encoder.skip` help"
        elif dim <= 2 * size and size <= MOST_EMBEDDED:
            remedy = "raise `encoder.dim` above twice the data's dimension, or lower `objective.weight`"
        return Health(
            "folding", f"folding: {folded:.0%} of the samples have a far-away sample as nearest neighbour", remedy
        )
    return None


def judge(
    held_out: np.ndarray, baselines: Baselines, size: int, *, rows: int, degenerate: bool, few: int = 200
) -> Health:
    """Return the verdict on a normalised density beside those of a kernel density estimate and a Gaussian mixture.

    Args:
      held_out: Log-densities [N] of held-out samples, in nats.
      baselines: Other densities of the same samples.
      size: D, the number of input numbers.
      rows: Number of rows, held out or not.
      degenerate: Whether the data fill no volume.
      few: Number of rows below which no verdict is given.
    """
    ours, kde = float(np.mean(held_out)), float(np.mean(baselines.kde))
    gmm = -np.inf if baselines.gmm is None else float(np.mean(baselines.gmm))
    beside = f"{abs(ours - kde):.2f} nats {'above' if ours >= kde else 'below'} a kernel density estimate"
    if np.isfinite(gmm):
        beside += f" and {abs(ours - gmm):.2f} {'above' if ours >= gmm else 'below'} a Gaussian mixture"
    beside += " on held-out samples"
    if degenerate:
        return Health("degenerate", "do not trust it: some columns follow from others, so that there is no density")
    if rows < few:
        return Health("few-rows", f"do not trust it: {rows} rows are too few to judge a density ({beside})")
    if not np.isfinite(ours):
        return Health("collapsed", "the density is not finite", "lower `optim.lr`")
    if ours < kde:
        return Health("kde-better", f"do not trust it: {beside}", "a kernel density estimate is better here, use that")
    if ours < gmm - NATS_PER_DIMENSION * size:
        return Health("gmm-better", f"do not trust it: {beside}", "a Gaussian mixture is better here, use that")
    return Health("healthy", f"healthy: the density is {beside}")
