"""Masks of a grid of tokens: the visible tokens, and groups of tokens that are predicted from them."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

Grid = tuple[int, int]


class Masks(NamedTuple):
    """Visible and predicted tokens of a sample.

    A token is given by its index row * columns + column, in ascending order; entries that are not valid are 0. A group
    without valid entries is padding.

    Attributes:
      context: Visible tokens, int32 [C].
      context_valid: Which entries of `context` are valid, bool [C].
      targets: Groups of predicted tokens, int32 [M, T].
      targets_valid: Which entries of `targets` are valid, bool [M, T].
    """

    context: Array
    context_valid: Array
    targets: Array
    targets_valid: Array


class Law(Protocol):
    """A distribution of masks: a frozen dataclass of static options."""

    def check(self, grid: Grid) -> None:
        """Check that there are masks for this grid.

        Raises:
          ValueError: If there are none.
        """
        ...

    def draw(self, key: Array, grid: Grid, progress: Array) -> Masks:
        """Draw the masks of one sample.

        Args:
          key: Key of this sample.
          grid: Numbers of rows and columns of tokens, static.
          progress: Progress of the run, a scalar from 0 to 1.

        Returns:
          Masks whose shapes depend only on the law and the grid.
        """
        ...


def pack(chosen: Array, most: int) -> tuple[Array, Array]:
    """Return the indices of the chosen tokens, padded to a static length.

    Args:
      chosen: Which tokens are chosen, bool [N].
      most: Length of the result, at least the number of chosen tokens.

    Returns:
      Indices, int32 [most], and which of them are valid, bool [most].
    """
    (index,) = jnp.nonzero(chosen, size=most, fill_value=0)
    return index.astype(jnp.int32), jnp.arange(most, dtype=jnp.int32) < jnp.sum(chosen, dtype=jnp.int32)


def pick(key: Array, among: Array, count: Array | int) -> Array:
    """Return which `count` of the entries `among`, bool [N], are drawn at random, bool [N]; all if there are fewer."""
    order = jnp.where(among, jax.random.uniform(key, among.shape, jnp.float32), 2.0)
    rank = jnp.argsort(jnp.argsort(order)).astype(jnp.int32)
    return among & (rank < count)


def pack_all(seen: Array, asked: Array, most_context: int, most_targets: int) -> Masks:
    """Return the masks in which the tokens `seen`, bool [N], are visible, and `asked`, bool [M, N], are predicted.

    Args:
      seen: Which tokens are visible.
      asked: Which tokens are in each group of predicted tokens.
      most_context: Largest possible number of visible tokens.
      most_targets: Largest possible number of tokens in a group.
    """
    return Masks(*pack(seen, most_context), *jax.vmap(lambda group: pack(group, most_targets))(asked))
