"""Masks inside one small window of the grid: a share of its tokens is hidden, and the others are visible."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.masking.masks import Grid, Masks, pack_all, pick


@dataclass(frozen=True)
class Windows:
    """Options of the masks in local windows. This is a `Law`.

    Chen et al., "Efficient self-supervised vision pretraining with local masked reconstruction" (LoMaR), arXiv
    2206.00790, as in SAR-JEPA (arXiv 2311.15153): nothing outside of the window is visible. A recipe draws several
    windows of a sample by its option `masks`.

    Raises:
      ValueError: If no mask can have these values.
    """

    size: int = 7
    """Side of a window in tokens."""
    share: float = 0.8
    """Hidden tokens of a window divided by all of its tokens."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.size < 2 or not 0 < self.share < 1:
            raise ValueError(f"a mask cannot have size {self.size} and share {self.share}; use 2 tokens, and below 1")

    def check(self, grid: Grid) -> None:
        """Check that a window fits into this grid.

        Raises:
          ValueError: If it does not.
        """
        if min(grid) < self.size:
            raise ValueError(f"a window of {self.size} x {self.size} tokens is larger than {grid[0]} x {grid[1]}")

    @property
    def hidden(self) -> int:
        """Number of hidden tokens in a window; at least one is hidden, and one is visible."""
        return min(max(1, round(self.share * self.size**2)), self.size**2 - 1)

    def draw(self, key: Array, grid: Grid, progress: Array | float = 0.0) -> Masks:
        """Draw a window of one sample, whose hidden tokens are one target.

        Args:
          key: Key of this sample.
          grid: Numbers of rows and columns of tokens, static.
          progress: Unused.
        """
        del progress
        place_key, hide_key = jax.random.split(key)
        u = jax.random.uniform(place_key, (2,), jnp.float32)
        top, left = (jnp.floor(u[i] * (side - self.size + 1)).astype(jnp.int32) for i, side in enumerate(grid))
        row, column = (jnp.arange(side, dtype=jnp.int32) for side in grid)
        rows, columns = (row >= top) & (row < top + self.size), (column >= left) & (column < left + self.size)
        inside = (rows[:, None] & columns[None]).reshape(-1)
        hidden = pick(hide_key, inside, self.hidden)
        return pack_all(inside & ~hidden, hidden[None], self.size**2 - self.hidden, self.hidden)
