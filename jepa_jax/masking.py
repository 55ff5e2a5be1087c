"""Which patches of an image a masked JEPA sees and which it predicts: the multi-block masks of I-JEPA."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

TRIES = 8  # layouts drawn at once, of which the first that leaves enough context is taken


@dataclass(frozen=True)
class Masking:
    """How the blocks of a mask are drawn, on a grid of side x side patches.

    Raises:
      ValueError: values that no mask can have, or that never leave enough context.
    """

    side: int
    """Patches along each side of the image."""
    num_targets: int = 4
    """Target blocks, M; they may overlap each other."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block over that of the image, uniform in this range."""
    target_ratio: tuple[float, float] = (0.75, 1.5)
    """Height of a target block over its width, uniform in this range."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    """Area of the context block over that of the image, uniform in this range; it is square."""
    min_context: int = 4
    """Fewest patches that the context has once the targets are taken out."""

    def __post_init__(self) -> None:
        """Check the values."""
        allowed = {
            **{name: getattr(self, name) >= 1 for name in ("side", "num_targets", "min_context")},
            **{name: _is_range(getattr(self, name), 1) for name in ("target_scale", "context_scale")},
            "target_ratio": _is_range(self.target_ratio, np.inf),
        }
        if wrong := [f"{name} {getattr(self, name)!r}" for name, ok in allowed.items() if not ok]:
            raise ValueError(f"a mask cannot have {', '.join(wrong)}; check the range and its order")
        most = min(self.max_context, self._context_sizes.prod(1).min())
        if most < self.min_context:
            raise ValueError(
                f"{self} leaves no more than {most} patches of context; take smaller targets, a larger context block "
                "or a smaller min_context"
            )

    @property
    def max_target(self) -> int:
        """The most patches a target block can have."""
        return int(self._target_sizes.prod(1).max())

    @property
    def max_context(self) -> int:
        """The most patches a context can have: all targets are alike, in one corner, and it is in the opposite one."""
        context, target = self._context_sizes[:, None], self._target_sizes[None]
        shared = np.maximum(context + target - self.side, 0).prod(2)
        return int((context.prod(2) - shared.min(1, keepdims=True)).max())

    @property
    def _target_sizes(self) -> np.ndarray:
        return _sizes(self.side, self.target_scale, self.target_ratio)

    @property
    def _context_sizes(self) -> np.ndarray:
        return _sizes(self.side, self.context_scale, (1.0, 1.0))


class Masks(NamedTuple):
    """Patches by their index row * side + column, ascending; what is not valid is 0."""

    context: Array  # int32 [max_context]
    context_valid: Array  # bool [max_context]
    targets: Array  # int32 [M, max_target]
    targets_valid: Array  # bool [M, max_target]


class Blocks(NamedTuple):
    """Rectangles of patches; each field int32 [M]."""

    top: Array
    left: Array
    height: Array
    width: Array


def multi_block(key: Array, masking: Masking) -> Masks:
    """The masks of one image: M target blocks, and a context block without the patches of any target.

    Assran et al., "I-JEPA", arXiv 2301.08243, section 3. Where its reference code differs: that draws one size of block
    for a whole batch, the scale and the ratio from the same number, never reaches the last row and column, and cuts all
    masks of the batch to the shortest. Here each image has sizes of its own, scale and ratio are independent, all
    places are possible, and nothing is cut: the shapes are static and `valid` says what counts.

    Of `TRIES` layouts the first that leaves `min_context` patches is taken. If none does, it is the one that leaves
    most, and the first patches of its context block that are also targets stay in the context until it has so many.

    Args:
      masking: static.
    """
    # Drawn as a line, which XLA compiles several times faster than an array of more axes.
    u = jax.random.uniform(key, (TRIES * 4 * (masking.num_targets + 1),), jnp.float32).reshape(TRIES, 4, -1)
    targets, inside, free = jax.vmap(lambda u: _layout(u, masking))(u)
    # argmax takes the first of equals: what leaves enough is equally good, so larger contexts are not favoured.
    best = jnp.argmax(jnp.minimum(jnp.sum(free, axis=1, dtype=jnp.int32), masking.min_context))
    inside, free, blocks = inside[best], free[best], Blocks(*(field[best] for field in targets))
    spare = inside & ~free
    missing = masking.min_context - jnp.sum(free, dtype=jnp.int32)
    chosen = free | (spare & (jnp.cumsum(spare, dtype=jnp.int32) <= missing))

    (context,) = jnp.nonzero(chosen, size=masking.max_context, fill_value=0)
    valid = jnp.arange(masking.max_context, dtype=jnp.int32) < jnp.sum(chosen, dtype=jnp.int32)
    return Masks(context.astype(jnp.int32), valid, *_patches(blocks, masking.side, masking.max_target))


def _layout(u: Array, masking: Masking) -> tuple[Blocks, Array, Array]:
    """Target blocks, and of each patch whether it is in the context block, and whether it is there and in no target.

    Args:
      u: float32 [4, M + 1], uniform in [0, 1).
    """
    targets = _blocks(u[:, :-1], masking.side, masking.target_scale, masking.target_ratio)
    inside = _cover(_blocks(u[:, -1:], masking.side, masking.context_scale, (1.0, 1.0)), masking.side)
    return targets, inside, inside & ~_cover(targets, masking.side)


def _blocks(u: Array, side: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Blocks:
    """Blocks inside the grid from numbers u [4, M] for the area, the ratio and the place; sides are rounded."""
    area = side**2 * (scale[0] + (scale[1] - scale[0]) * u[0])
    shape = ratio[0] + (ratio[1] - ratio[0]) * u[1]
    height, width = (jnp.clip(jnp.round(jnp.sqrt(a)), 1, side) for a in (area * shape, area / shape))
    top, left = u[2] * (side + 1 - height), u[3] * (side + 1 - width)
    return Blocks(*(field.astype(jnp.int32) for field in (top, left, height, width)))


def _cover(blocks: Blocks, side: int) -> Array:
    """Which patches are in any of the blocks: bool [side * side]."""
    line = jnp.arange(side, dtype=jnp.int32)[None, :]
    rows = (line >= blocks.top[:, None]) & (line < (blocks.top + blocks.height)[:, None])
    columns = (line >= blocks.left[:, None]) & (line < (blocks.left + blocks.width)[:, None])
    return jnp.any(rows[:, :, None] & columns[:, None, :], axis=0).reshape(-1)


def _patches(blocks: Blocks, side: int, most: int) -> tuple[Array, Array]:
    """Indices of the patches in each block, int32 [M, most], and which of them are valid."""
    number = jnp.arange(most, dtype=jnp.int32)[None, :]
    top, left, height, width = (field[:, None] for field in blocks)
    valid = number < height * width
    return jnp.where(valid, (top + number // width) * side + left + number % width, 0), valid


def _sizes(side: int, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Every (height, width) that a draw can be rounded to, [n, 2].

    In the plane of log height and log width, a size is what rounds to it, a rectangle along the axes, and the draws
    fill one along the diagonals. The two meet if and only if their shadows do on each of these four directions.
    """
    n = np.arange(1, side + 1)
    with np.errstate(divide="ignore"):  # the least and the largest take all that is beyond them
        low = np.log(np.where(n > 1, n - 0.5, 0)) - 1e-5  # the draws are float32
        high = np.log(np.where(n < side, n + 0.5, np.inf)) + 1e-5
    h, w = (low[:, None], high[:, None]), (low[None], high[None])
    area, shape = np.log(side**2 * np.asarray(scale)), np.log(np.asarray(ratio))
    meets = (h[0] + w[0] <= area[1]) & (h[1] + w[1] >= area[0])
    meets &= (h[0] - w[1] <= shape[1]) & (h[1] - w[0] >= shape[0])
    meets &= (2 * h[0] <= area[1] + shape[1]) & (2 * h[1] >= area[0] + shape[0])
    meets &= (2 * w[0] <= area[1] - shape[0]) & (2 * w[1] >= area[0] - shape[1])
    return np.argwhere(meets) + 1


def _is_range(value: tuple[float, float], largest: float) -> bool:
    return 0 < value[0] <= value[1] <= largest
