"""Multi-block masks of I-JEPA: several rectangles of the grid are hidden, and a large one without them is visible."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.masking.masks import Grid, Masks, pack

NUM_LAYOUTS = 8  # layouts drawn at once; the first that leaves enough context is used
ROUNDING_TOLERANCE = 1e-5  # for rounding errors of the draws, which are float32


@dataclass(frozen=True)
class Blocks:
    """Options of the block masks. This is a `Law`.

    Raises:
      ValueError: If no mask can have these values.
    """

    targets: int = 4
    """Number of target blocks, M; they may overlap each other."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block divided by the area of the grid, uniform in this range."""
    target_ratio: tuple[float, float] = (0.75, 1.5)
    """Height of a target block divided by its width, relative to the same ratio of the grid, uniform in this range."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Area of the context block divided by the area of the grid, uniform in this range; it has the grid's ratio."""
    min_context: int | None = None
    """Smallest number of context tokens after the targets are removed. None: four, or a quarter of a smaller grid."""

    def __post_init__(self) -> None:
        """Check the values."""
        allowed = {
            "targets": self.targets >= 1,
            "min_context": self.min_context is None or self.min_context >= 1,
            **{name: _is_range(getattr(self, name), 1) for name in ("target_scale", "context_scale")},
            "target_ratio": _is_range(self.target_ratio, np.inf),
        }
        if wrong := [f"{name} {getattr(self, name)!r}" for name, ok in allowed.items() if not ok]:
            raise ValueError(f"a mask cannot have {', '.join(wrong)}; check the range and its order")

    def check(self, grid: Grid) -> None:
        """Check that on this grid the masks can leave enough context.

        Raises:
          ValueError: If they never do; the message names the most tokens that they leave.
        """
        if min(grid) < 1:
            raise ValueError(f"a mask needs a grid of tokens, not {grid[0]} x {grid[1]}")
        most = min(self.max_context(grid), self._context_sizes(grid).prod(1).min())
        if most < self._required_context(grid):
            raise ValueError(
                f"{self} leaves no more than {most} of {grid[0]} x {grid[1]} tokens of context; use smaller targets, "
                "a larger context block or a smaller min_context"
            )

    def max_target(self, grid: Grid) -> int:
        """Return the largest possible number of tokens in a target block."""
        return int(self._target_sizes(grid).prod(1).max())

    def max_context(self, grid: Grid) -> int:
        """Return the largest possible number of tokens in the context.

        It is reached when all targets coincide in one corner and the context block is in the opposite corner.
        """
        context, target = self._context_sizes(grid)[:, None], self._target_sizes(grid)[None]
        shared = np.maximum(context + target - np.array(grid), 0).prod(2)
        return int((context.prod(2) - shared.min(1, keepdims=True)).max())

    def draw(self, key: Array, grid: Grid, progress: Array | float = 0.0) -> Masks:
        """Draw the masks of one sample: M target blocks, and a context block without the tokens of any target.

        Assran et al., "I-JEPA", arXiv 2301.08243, section 3. The reference code differs: it draws one size of block for
        a whole batch, draws the scale and the ratio from the same number, never reaches the last row and column, and
        cuts all masks of the batch to the shortest. Here each sample has its own sizes, scale and ratio are
        independent, all positions are possible, and nothing is cut: the shapes are static and `valid` marks the entries
        that count.

        The first of `NUM_LAYOUTS` layouts that leaves `min_context` tokens is used. If none does, the layout that
        leaves most is used, and the first tokens of its context block that are also targets stay in the context until
        it has enough.

        Args:
          key: Key of this sample.
          grid: Numbers of rows and columns of tokens, static.
          progress: Unused.
        """
        del progress
        # Drawn as one axis, which XLA compiles several times faster than an array with more axes.
        u = jax.random.uniform(key, (NUM_LAYOUTS * 4 * (self.targets + 1),), jnp.float32).reshape(NUM_LAYOUTS, 4, -1)
        targets, inside, free = jax.vmap(lambda u: self._layout(u, grid))(u)
        # argmax returns the first maximum. All layouts that leave enough tie, so larger contexts are not preferred.
        least = self._required_context(grid)
        best = jnp.argmax(jnp.minimum(jnp.sum(free, axis=1, dtype=jnp.int32), least))
        inside, free, blocks = inside[best], free[best], Rectangles(*(field[best] for field in targets))
        spare = inside & ~free
        missing = least - jnp.sum(free, dtype=jnp.int32)
        chosen = free | (spare & (jnp.cumsum(spare, dtype=jnp.int32) <= missing))
        return Masks(*pack(chosen, self.max_context(grid)), *_tokens(blocks, grid, self.max_target(grid)))

    def _layout(self, u: Array, grid: Grid) -> tuple["Rectangles", Array, Array]:
        """Return the target blocks; which tokens are in the context block; and which of these are in no target.

        Args:
          u: Uniform numbers in [0, 1), float32 [4, M + 1].
          grid: Numbers of rows and columns of tokens, static.
        """
        targets = _rectangles(u[:, :-1], grid, self.target_scale, self.target_ratio)
        inside = _cover(_rectangles(u[:, -1:], grid, self.context_scale, (1.0, 1.0)), grid)
        return targets, inside, inside & ~_cover(targets, grid)

    def _required_context(self, grid: Grid) -> int:
        return max(1, min(4, grid[0] * grid[1] // 4)) if self.min_context is None else self.min_context

    def _target_sizes(self, grid: Grid) -> np.ndarray:
        return _sizes(grid, self.target_scale, self.target_ratio)

    def _context_sizes(self, grid: Grid) -> np.ndarray:
        return _sizes(grid, self.context_scale, (1.0, 1.0))


class Rectangles(NamedTuple):
    """Rectangles of tokens; each field is int32 [M]."""

    top: Array
    left: Array
    height: Array
    width: Array


def _rectangles(u: Array, grid: Grid, scale: tuple[float, float], ratio: tuple[float, float]) -> Rectangles:
    """Return rectangles in the grid from uniform numbers u [4, M].

    The numbers determine the area, the ratio and the position (two numbers); sides are rounded.
    """
    rows, columns = grid
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * u[0])
    shape = (ratio[0] + (ratio[1] - ratio[0]) * u[1]) * (rows / columns)
    height = jnp.clip(jnp.round(jnp.sqrt(area * shape)), 1, rows)
    width = jnp.clip(jnp.round(jnp.sqrt(area / shape)), 1, columns)
    top, left = u[2] * (rows + 1 - height), u[3] * (columns + 1 - width)
    return Rectangles(*(field.astype(jnp.int32) for field in (top, left, height, width)))


def _cover(blocks: Rectangles, grid: Grid) -> Array:
    """Return which tokens are in any of the rectangles: bool [rows * columns]."""
    row, column = (jnp.arange(side, dtype=jnp.int32)[None, :] for side in grid)
    rows = (row >= blocks.top[:, None]) & (row < (blocks.top + blocks.height)[:, None])
    columns = (column >= blocks.left[:, None]) & (column < (blocks.left + blocks.width)[:, None])
    return jnp.any(rows[:, :, None] & columns[:, None, :], axis=0).reshape(-1)


def _tokens(blocks: Rectangles, grid: Grid, most: int) -> tuple[Array, Array]:
    """Return the indices of the tokens in each rectangle, int32 [M, most], and which of them are valid."""
    number = jnp.arange(most, dtype=jnp.int32)[None, :]
    top, left, height, width = (field[:, None] for field in blocks)
    valid = number < height * width
    return jnp.where(valid, (top + number // width) * grid[1] + left + number % width, 0), valid


def _sizes(grid: Grid, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Return every (height, width) that a draw can be rounded to, [n, 2].

    In the plane of log height and log width, the points that round to one size are a rectangle along the axes, and the
    draws fill a rectangle along the diagonals. The two intersect if and only if their projections intersect on each of
    these four directions.
    """
    bounds = []
    for side in grid:
        n = np.arange(1, side + 1)
        with np.errstate(divide="ignore"):  # the smallest and the largest side include everything beyond them
            low = np.log(np.where(n > 1, n - 0.5, 0)) - ROUNDING_TOLERANCE
            high = np.log(np.where(n < side, n + 0.5, np.inf)) + ROUNDING_TOLERANCE
        bounds.append((low, high))
    h, w = (bounds[0][0][:, None], bounds[0][1][:, None]), (bounds[1][0][None], bounds[1][1][None])
    area = np.log(grid[0] * grid[1] * np.asarray(scale))
    shape = np.log(np.asarray(ratio) * (grid[0] / grid[1]))
    meets = (h[0] + w[0] <= area[1]) & (h[1] + w[1] >= area[0])
    meets &= (h[0] - w[1] <= shape[1]) & (h[1] - w[0] >= shape[0])
    meets &= (2 * h[0] <= area[1] + shape[1]) & (2 * h[1] >= area[0] + shape[0])
    meets &= (2 * w[0] <= area[1] - shape[0]) & (2 * w[1] >= area[0] - shape[1])
    return np.argwhere(meets) + 1


def _is_range(value: tuple[float, float], largest: float) -> bool:
    return 0 < value[0] <= value[1] <= largest
