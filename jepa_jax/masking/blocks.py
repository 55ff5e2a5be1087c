"""The multi-block masks of I-JEPA: rectangles of the grid are hidden, and a large one without them is seen."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.masking.masks import Grid, Masks, pack

TRIES = 8  # layouts drawn at once, of which the first that leaves enough context is taken
ROUNDING = 1e-5  # of the draws, which are float32


@dataclass(frozen=True)
class Blocks:
    """How the blocks of a mask are drawn. A `Law`.

    Raises:
      ValueError: values that no mask can have.
    """

    targets: int = 4
    """Target blocks, M; they may overlap each other."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block over that of the grid, uniform in this range."""
    target_ratio: tuple[float, float] = (0.75, 1.5)
    """Height of a target block over its width, over that ratio of the grid, uniform in this range."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Area of the context block over that of the grid, uniform in this range; it has the grid's ratio."""
    min_context: int | None = None
    """Fewest tokens that the context has once the targets are taken out. None: four, or a quarter of a smaller grid."""

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
        """Refuse a grid on which these masks never leave enough context.

        Raises:
          ValueError: with the most that they leave.
        """
        if min(grid) < 1:
            raise ValueError(f"a mask needs a grid of tokens, not {grid[0]} x {grid[1]}")
        most = min(self.max_context(grid), self._context_sizes(grid).prod(1).min())
        if most < self._least(grid):
            raise ValueError(
                f"{self} leaves no more than {most} of {grid[0]} x {grid[1]} tokens of context; take smaller targets, "
                "a larger context block or a smaller min_context"
            )

    def max_target(self, grid: Grid) -> int:
        """The most tokens a target block can have."""
        return int(self._target_sizes(grid).prod(1).max())

    def max_context(self, grid: Grid) -> int:
        """The most tokens a context can have: all targets are alike, in one corner, and it is in the opposite one."""
        context, target = self._context_sizes(grid)[:, None], self._target_sizes(grid)[None]
        shared = np.maximum(context + target - np.array(grid), 0).prod(2)
        return int((context.prod(2) - shared.min(1, keepdims=True)).max())

    def draw(self, key: Array, grid: Grid, progress: Array | float = 0.0) -> Masks:
        """The masks of one sample: M target blocks, and a context block without the tokens of any target.

        Assran et al., "I-JEPA", arXiv 2301.08243, section 3. Where its reference code differs: that draws one size of
        block for a whole batch, the scale and the ratio from the same number, never reaches the last row and column,
        and cuts all masks of the batch to the shortest. Here each sample has sizes of its own, scale and ratio are
        independent, all places are possible, and nothing is cut: the shapes are static and `valid` says what counts.

        Of `TRIES` layouts the first that leaves `min_context` tokens is taken. If none does, it is the one that leaves
        most, and the first tokens of its context block that are also targets stay in the context until it has enough.

        Args:
          key: for this sample.
          grid: rows and columns of tokens, static.
          progress: is not used.
        """
        del progress
        # Drawn as a line, which XLA compiles several times faster than an array of more axes.
        u = jax.random.uniform(key, (TRIES * 4 * (self.targets + 1),), jnp.float32).reshape(TRIES, 4, -1)
        targets, inside, free = jax.vmap(lambda u: self._layout(u, grid))(u)
        # argmax takes the first of equals: what leaves enough is equally good, so larger contexts are not favoured.
        least = self._least(grid)
        best = jnp.argmax(jnp.minimum(jnp.sum(free, axis=1, dtype=jnp.int32), least))
        inside, free, blocks = inside[best], free[best], Rectangles(*(field[best] for field in targets))
        spare = inside & ~free
        missing = least - jnp.sum(free, dtype=jnp.int32)
        chosen = free | (spare & (jnp.cumsum(spare, dtype=jnp.int32) <= missing))
        return Masks(*pack(chosen, self.max_context(grid)), *_tokens(blocks, grid, self.max_target(grid)))

    def _layout(self, u: Array, grid: Grid) -> tuple["Rectangles", Array, Array]:
        """Target blocks; which tokens are in the context block; and which are there and in no target.

        Args:
          u: float32 [4, M + 1], uniform in [0, 1).
          grid: static.
        """
        targets = _rectangles(u[:, :-1], grid, self.target_scale, self.target_ratio)
        inside = _cover(_rectangles(u[:, -1:], grid, self.context_scale, (1.0, 1.0)), grid)
        return targets, inside, inside & ~_cover(targets, grid)

    def _least(self, grid: Grid) -> int:
        return max(1, min(4, grid[0] * grid[1] // 4)) if self.min_context is None else self.min_context

    def _target_sizes(self, grid: Grid) -> np.ndarray:
        return _sizes(grid, self.target_scale, self.target_ratio)

    def _context_sizes(self, grid: Grid) -> np.ndarray:
        return _sizes(grid, self.context_scale, (1.0, 1.0))


class Rectangles(NamedTuple):
    """Rectangles of tokens; each field int32 [M]."""

    top: Array
    left: Array
    height: Array
    width: Array


def _rectangles(u: Array, grid: Grid, scale: tuple[float, float], ratio: tuple[float, float]) -> Rectangles:
    """Rectangles in the grid from numbers u [4, M] for the area, the ratio and the place; sides are rounded."""
    rows, columns = grid
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * u[0])
    shape = (ratio[0] + (ratio[1] - ratio[0]) * u[1]) * (rows / columns)
    height = jnp.clip(jnp.round(jnp.sqrt(area * shape)), 1, rows)
    width = jnp.clip(jnp.round(jnp.sqrt(area / shape)), 1, columns)
    top, left = u[2] * (rows + 1 - height), u[3] * (columns + 1 - width)
    return Rectangles(*(field.astype(jnp.int32) for field in (top, left, height, width)))


def _cover(blocks: Rectangles, grid: Grid) -> Array:
    """Which tokens are in any of the rectangles: bool [rows * columns]."""
    row, column = (jnp.arange(side, dtype=jnp.int32)[None, :] for side in grid)
    rows = (row >= blocks.top[:, None]) & (row < (blocks.top + blocks.height)[:, None])
    columns = (column >= blocks.left[:, None]) & (column < (blocks.left + blocks.width)[:, None])
    return jnp.any(rows[:, :, None] & columns[:, None, :], axis=0).reshape(-1)


def _tokens(blocks: Rectangles, grid: Grid, most: int) -> tuple[Array, Array]:
    """Indices of the tokens in each rectangle, int32 [M, most], and which of them are valid."""
    number = jnp.arange(most, dtype=jnp.int32)[None, :]
    top, left, height, width = (field[:, None] for field in blocks)
    valid = number < height * width
    return jnp.where(valid, (top + number // width) * grid[1] + left + number % width, 0), valid


def _sizes(grid: Grid, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Every (height, width) that a draw can be rounded to, [n, 2].

    In the plane of log height and log width, a size is what rounds to it, a rectangle along the axes, and the draws
    fill one along the diagonals. The two meet if and only if their shadows do on each of these four directions.
    """
    bounds = []
    for side in grid:
        n = np.arange(1, side + 1)
        with np.errstate(divide="ignore"):  # the least and the largest take all that is beyond them
            low = np.log(np.where(n > 1, n - 0.5, 0)) - ROUNDING
            high = np.log(np.where(n < side, n + 0.5, np.inf)) + ROUNDING
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
