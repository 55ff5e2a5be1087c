"""What a mask is: tokens of a grid that are seen, and groups of tokens that are predicted from them."""

from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

Grid = tuple[int, int]


class Masks(NamedTuple):
    """Tokens by their index row * columns + column, ascending; what is not valid is 0.

    Attributes:
      context: int32 [C], tokens that are seen.
      context_valid: bool [C].
      targets: int32 [M, T], groups of tokens that are predicted.
      targets_valid: bool [M, T].
    """

    context: Array
    context_valid: Array
    targets: Array
    targets_valid: Array


class Law(Protocol):
    """A law of masks: a frozen dataclass of static options."""

    def check(self, grid: Grid) -> None:
        """Refuse a grid for which there are no masks. Raises ValueError."""
        ...

    def draw(self, key: Array, grid: Grid, progress: Array) -> Masks:
        """The masks of one sample.

        Args:
          key: for this sample.
          grid: rows and columns of tokens, static.
          progress: of the run, from 0 to 1, a scalar.

        Returns:
          Masks of shapes that depend on the law and the grid alone.
        """
        ...


def pack(chosen: Array, most: int) -> tuple[Array, Array]:
    """Indices of the tokens that are chosen, bool [N], as int32 [most], and which of these are valid, bool [most]."""
    (index,) = jnp.nonzero(chosen, size=most, fill_value=0)
    return index.astype(jnp.int32), jnp.arange(most, dtype=jnp.int32) < jnp.sum(chosen, dtype=jnp.int32)
