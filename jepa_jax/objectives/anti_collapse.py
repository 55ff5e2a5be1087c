"""The table of anti-collapse terms."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jepa_jax.objectives.barlow import barlow
from jepa_jax.objectives.coding_rate import coding_rate
from jepa_jax.objectives.energy import energy
from jepa_jax.objectives.entropy import entropy
from jepa_jax.objectives.infonce import infonce
from jepa_jax.objectives.koleo import koleo
from jepa_jax.objectives.sigreg import sigreg
from jepa_jax.objectives.uniformity import uniformity
from jepa_jax.objectives.vicreg import vicreg


class Term(NamedTuple):
    """An anti-collapse term.

    Attributes:
      term: Function (z [V, B, K], key) -> scalar, over the global batch.
      output: Space of the embeddings: `sphere` or `free`.
      base: Base distribution that the term drives the embedding to: `sphere` (uniform) or `normal` (N(0, I)), or None
        if there is no such distribution.
      weight: Default weight of the term.
      views: Numbers V of views that the term is defined for, or None if any.
      contrasts: Whether the term compares each sample of one view with all of the other, so that it takes predictions
        and their targets where one view is predicted from the other.
    """

    term: Callable[..., Array]
    output: str
    base: str | None
    weight: float
    views: tuple[int, ...] | None = None
    contrasts: bool = False


def none(z: Array, key: Array) -> Array:
    """Return zero, so that only the prediction term remains, which collapses.

    This is a control.
    """
    del key
    return jnp.zeros((), z.dtype)


TERMS: dict[str, Term] = {
    "uniformity": Term(uniformity, "sphere", "sphere", 0.3),
    "infonce": Term(infonce, "sphere", "sphere", 0.4, views=(1, 2), contrasts=True),
    "koleo": Term(koleo, "sphere", "sphere", 0.3),
    "sigreg": Term(sigreg, "free", "normal", 0.01),
    "energy": Term(energy, "free", "normal", 1.0),
    "vicreg": Term(vicreg, "free", None, 1.0),
    "barlow": Term(barlow, "free", None, 0.1, views=(2,)),
    "coding_rate": Term(coding_rate, "free", None, 0.1),
    "none": Term(none, "free", None, 0.0),
}


# The exact term: a function (z [V, B, K], log_volume [V, B], gaussian=...) -> scalar, for encoders that cannot fold.
# With this weight, the prediction term counts a tenth.
ENTROPY = Term(entropy, "free", None, 10.0)


def term_of(name: str) -> Term:
    """Return the term of this name, with its defaults."""
    return ENTROPY if name == "entropy" else TERMS[name]


def build(name: str, *, weight: float | None, temperature: float | None, num_slices: int) -> Term:
    """Return the term of this name with its options bound.

    None uses an option's default. Options that the term does not have are ignored.
    """
    chosen = term_of(name)
    term = chosen.term
    if name in ("uniformity", "infonce") and temperature is not None:
        term = partial(term, temperature=temperature)
    if name == "sigreg":
        term = partial(term, num_slices=num_slices)
    if weight is None:
        # Keep prediction + weight * infonce proportional to InfoNCE at every temperature.
        weight = 2 * temperature if name == "infonce" and temperature is not None else chosen.weight
    return chosen._replace(term=term, weight=weight)
