"""Curriculum from one distribution of masks to another over the course of a run."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.masking.masks import Grid, Law, Masks


@dataclass(frozen=True)
class Curriculum:
    """A `Law` that draws from an early law at first and more and more often from a late one.

    Fei et al., "A-JEPA: Joint-embedding predictive architecture can listen", arXiv 2311.15830: the late masks are
    drawn with probability min(1, sqrt(s (1 - c^2) / S) + c^2) in step s of S.
    """

    early: Law
    """Distribution of the masks at the start."""
    late: Law
    """Distribution of the masks at the end."""
    start: float = 0.01
    """c, which determines the share c^2 of late masks in the first step."""

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.start < 1:
            raise ValueError(f"a curriculum cannot have start {self.start}; use a number in [0, 1)")

    def check(self, grid: Grid) -> None:
        """Check both laws on this grid.

        Raises:
          ValueError: If one has no masks for it.
        """
        self.early.check(grid)
        self.late.check(grid)

    def late_share(self, progress: Array | float) -> Array:
        """Return the probability of the late masks at a progress of the run from 0 to 1."""
        return jnp.minimum(1.0, jnp.sqrt(progress * (1 - self.start**2)) + self.start**2)

    def draw(self, key: Array, grid: Grid, progress: Array | float) -> Masks:
        """Draw the masks of one sample.

        Args:
          key: Key of this sample.
          grid: Numbers of rows and columns of tokens, static.
          progress: Progress of the run, a scalar from 0 to 1.
        """
        coin, mask_key = jax.random.split(key)
        late = jax.random.uniform(coin, (), jnp.float32) < self.late_share(progress)
        masks = [law.draw(mask_key, grid, jnp.asarray(progress)) for law in (self.early, self.late)]
        return Masks(*(_either(late, *fields) for fields in zip(*masks, strict=True)))


def _either(late: Array, a: Array, b: Array) -> Array:
    """Return b if `late`, else a, both padded with entries that are not valid to the larger size along each axis."""
    size = [max(n, m) for n, m in zip(a.shape, b.shape, strict=True)]
    a, b = (jnp.pad(x, [(0, most - n) for most, n in zip(size, x.shape, strict=True)]) for x in (a, b))
    return jnp.where(late, b, a)
