"""The multi-block masks of I-JEPA: the shapes of blocks, what context and targets share, and what is refused."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax.config import Blocks as Options
from jepa_jax.masking import LAWS, Blocks, Masks

KEYS = 500


class Case(NamedTuple):
    """A law on a grid."""

    law: Blocks
    rows: int
    columns: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def count(self) -> int:
        return self.rows * self.columns


MASKINGS = {
    "paper": Case(Blocks(), 14, 14),
    "small": Case(Blocks(), 6, 6),
    "tiny": Case(Blocks(targets=2, min_context=2), 4, 4),
    "one, wide": Case(Blocks(targets=1, target_ratio=(0.2, 0.5)), 9, 9),
    "crowded": Case(Blocks(targets=6, target_scale=(0.3, 0.5), min_context=12), 8, 8),
    "small context": Case(Blocks(context_scale=(0.3, 0.5)), 10, 10),
    "fixed": Case(Blocks(target_scale=(0.25, 0.25), target_ratio=(1.0, 1.0), context_scale=(1.0, 1.0)), 8, 8),
    "a wide grid": Case(Blocks(), 5, 16),
    "a high grid": Case(Blocks(targets=2), 12, 7),
}


@cache
def draw(case: Case, count: int = KEYS) -> Masks:
    """As NumPy arrays with a leading axis of samples."""
    layout = jax.jit(jax.vmap(lambda key: case.law.draw(key, case.grid)))
    return jax.tree.map(np.asarray, layout(jax.random.split(jax.random.key(0), count)))


def on_the_grid(indices: np.ndarray, valid: np.ndarray, case: Case) -> np.ndarray:
    """Padded indices [..., n] -> how often each token is named, [..., rows, columns]."""
    named = (indices[..., None] == np.arange(case.count)) & valid[..., None]
    return named.sum(-2).reshape(*indices.shape[:-1], *case.grid)


def is_padded(indices: np.ndarray, valid: np.ndarray) -> bool:
    """Valid entries come first and ascend; the rest is 0."""
    ascends = (np.diff(indices, axis=-1) > 0) | ~valid[..., 1:]
    first = np.arange(valid.shape[-1]) < valid.sum(-1, keepdims=True)
    return bool(ascends.all() and (valid == first).all() and (indices[~valid] == 0).all())


def sides(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and width of the box around what is marked."""
    return tuple((grid.any(axis)).sum(-1) for axis in (-1, -2))


@pytest.mark.parametrize("name", MASKINGS)
def test_shapes_types_and_padding(name: str) -> None:
    case = MASKINGS[name]
    masks = draw(case)
    assert masks.context.shape == masks.context_valid.shape == (KEYS, case.law.max_context(case.grid))
    assert masks.targets.shape == masks.targets_valid.shape == (KEYS, case.law.targets, case.law.max_target(case.grid))
    assert masks.context.dtype == masks.targets.dtype == np.int32
    assert masks.context_valid.dtype == masks.targets_valid.dtype == np.bool_
    assert is_padded(masks.context, masks.context_valid)
    assert is_padded(masks.targets, masks.targets_valid)
    assert max(masks.context.max(), masks.targets.max()) < case.count


@pytest.mark.parametrize("name", MASKINGS)
def test_targets_are_rectangles_of_the_area_and_ratio_asked_for(name: str) -> None:
    case = MASKINGS[name]
    masks = draw(case)
    grid = on_the_grid(masks.targets, masks.targets_valid, case)
    height, width = sides(grid)
    assert grid.max() == 1
    assert (grid.sum((-1, -2)) == height * width).all()  # all of the box around it
    # Sides are rounded: some height and width less than half a patch away have an area and a ratio in the ranges.
    for near, values, (low, high) in (
        (np.multiply, (height, width), case.count * np.asarray(case.law.target_scale)),
        (np.divide, (height, width), np.asarray(case.law.target_ratio) * (case.rows / case.columns)),
    ):
        h, w = values
        smaller = w + 0.5 if near is np.divide else w - 0.5
        larger = w - 0.5 if near is np.divide else w + 0.5
        assert (near(h - 0.5, smaller) <= high + 1e-4).all()
        assert (near(h + 0.5, larger) >= low - 1e-4).all()


@pytest.mark.parametrize(
    "name", ["paper", "small", "one, wide", "small context", "fixed", "a wide grid", "a high grid"]
)
def test_the_context_is_one_block_without_the_targets(name: str) -> None:
    case = MASKINGS[name]
    masks = draw(case)
    context = on_the_grid(masks.context, masks.context_valid, case)
    targets = on_the_grid(masks.targets, masks.targets_valid, case).any(1)
    assert not (context.astype(bool) & targets).any()
    assert (masks.context_valid.sum(1) >= (case.law.min_context or 4)).all()
    # Nothing but targets is missing from the box around it, which is no larger than the block can be.
    rows, columns = (context.any(axis) for axis in (2, 1))

    def between(line: np.ndarray) -> np.ndarray:
        return (np.cumsum(line, 1) > 0) & (np.cumsum(line[:, ::-1], 1)[:, ::-1] > 0)

    box = between(rows)[:, :, None] & between(columns)[:, None, :]
    assert (context.astype(bool) == box & ~targets).all()
    assert box.sum((1, 2)).max() <= np.prod([round(n * np.sqrt(case.law.context_scale[1])) for n in case.grid])


def test_a_crowded_context_keeps_no_more_of_the_targets_than_it_must() -> None:
    case = Case(Blocks(targets=8, target_scale=(0.5, 0.5), min_context=12), 8, 8)
    masks = draw(case)
    context = on_the_grid(masks.context, masks.context_valid, case).astype(bool)
    targets = on_the_grid(masks.targets, masks.targets_valid, case).any(1)
    count, shared = context.sum((1, 2)), (context & targets).sum((1, 2))
    assert (count >= 12).all()
    assert (count[shared > 0] == 12).all()
    assert 0 < (shared > 0).mean() < 1  # both happen


def test_drawing_anew_makes_shared_patches_rare() -> None:
    case = MASKINGS["crowded"]
    masks = draw(case)
    targets = on_the_grid(masks.targets, masks.targets_valid, case).any(1)
    context = on_the_grid(masks.context, masks.context_valid, case).astype(bool)
    assert (context & targets).any((1, 2)).mean() < 0.05


def possible(case: Case, scale: tuple[float, float], ratio: tuple[float, float]) -> set[tuple[int, int]]:
    """Heights and widths that a fine mesh of areas and ratios is rounded to."""
    shapes = np.linspace(*ratio, 500) * (case.rows / case.columns)
    area, shape = np.meshgrid(case.count * np.linspace(*scale, 500), shapes)
    h = np.clip(np.round(np.sqrt(area * shape)), 1, case.rows).astype(int).ravel()
    w = np.clip(np.round(np.sqrt(area / shape)), 1, case.columns).astype(int).ravel()
    return set(zip(h.tolist(), w.tolist(), strict=True))


@pytest.mark.parametrize("name", MASKINGS)
def test_static_sizes_are_the_largest_that_happen(name: str) -> None:
    case = MASKINGS[name]
    targets = possible(case, case.law.target_scale, case.law.target_ratio)
    contexts = possible(case, case.law.context_scale, (1.0, 1.0))
    assert case.law.max_target(case.grid) == max(h * w for h, w in targets)

    def left(context: tuple[int, int], target: tuple[int, int]) -> int:
        grid = np.zeros(case.grid, bool)
        grid[: context[0], : context[1]] = True
        grid[case.rows - target[0] :, case.columns - target[1] :] = False
        return int(grid.sum())

    assert case.law.max_context(case.grid) == max(left(c, t) for c in contexts for t in targets)
    seen = draw(case)
    assert seen.targets_valid.sum(2).max() == case.law.max_target(case.grid)


def test_the_largest_context_happens() -> None:
    case = Case(Blocks(targets=1, target_scale=(0.2, 0.3)), 5, 5)
    assert draw(case).context_valid.sum(1).max() == case.law.max_context(case.grid)


def test_blocks_are_everywhere_and_of_every_size() -> None:
    case = MASKINGS["paper"]
    masks = draw(case)
    grid = on_the_grid(masks.targets, masks.targets_valid, case)
    often = grid.mean((0, 1))
    np.testing.assert_allclose(often, often[::-1], atol=0.05)
    np.testing.assert_allclose(often, often[:, ::-1], atol=0.05)
    assert often.min() > 0  # corners too
    np.testing.assert_allclose(grid.sum((2, 3)).mean(), 0.175 * 14**2, rtol=0.02)
    found = set(zip(*(s.ravel().tolist() for s in sides(grid)), strict=True))
    assert found <= possible(case, case.law.target_scale, case.law.target_ratio)
    assert len({s for s in zip(*(s[0].tolist() for s in sides(grid)), strict=True)}) > 1  # within one image
    one, two = grid[:, 0].sum((1, 2)), grid[:, 1].sum((1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1  # each block has a size of its own


def test_one_key_one_mask() -> None:
    case = MASKINGS["paper"]
    together = draw(case)
    assert len({row.tobytes() for row in together.targets}) == KEYS
    alone = jax.jit(lambda key: case.law.draw(key, case.grid))
    for i, key in enumerate(jax.random.split(jax.random.key(0), KEYS)[:5]):
        for a, b in zip(together, alone(key), strict=True):
            np.testing.assert_array_equal(a[i], b)


def test_gathering_the_valid_patches(key: jax.Array) -> None:
    """What the masks are for: tokens of the context and of each target, by plain indexing."""
    case = MASKINGS["small"]
    masks = jax.jit(lambda key: case.law.draw(key, case.grid))(key)
    tokens = jnp.arange(36.0)[:, None]
    assert tokens[masks.context].shape == (case.law.max_context(case.grid), 1)
    assert tokens[masks.targets].shape == (4, case.law.max_target(case.grid), 1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"targets": 0}, "targets 0"),
        ({"min_context": 0}, "min_context 0"),
        ({"target_scale": (0.5, 0.2)}, "target_scale"),
        ({"context_scale": (0.5, 1.5)}, "context_scale"),
        ({"target_ratio": (0.0, 1.0)}, "target_ratio"),
        ({"target_scale": (1.0, 1.0), "target_ratio": (1.0, 1.0)}, "no more than 0 of 8 x 8 tokens"),
        ({"min_context": 64}, "min_context"),
        ({"context_scale": (0.05, 1.0), "min_context": 10}, "no more than 4 of 8 x 8 tokens"),
    ],
)
def test_what_leaves_no_context_is_refused_in_one_line(fields: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        Blocks(**fields).check((8, 8))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("grid", "says"), [((1, 1), "no more than 0 of 1 x 1"), ((0, 4), "not 0 x 4")])
def test_grids_without_masks(grid: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Blocks().check(grid)


def test_the_most_that_can_be_asked_for_is_granted() -> None:
    most = Blocks().max_context((8, 8))
    case = Case(Blocks(min_context=int(0.85 * 64) - 10), 8, 8)
    assert (draw(case, 50).context_valid.sum(1) >= 44).all()
    with pytest.raises(ValueError, match="tokens of context"):
        Blocks(min_context=most + 1).check((8, 8))


def test_a_transposed_grid_has_transposed_masks() -> None:
    """Heights on one grid are distributed as widths on the other."""
    one, other = Case(Blocks(target_ratio=(1.0, 1.0)), 6, 12), Case(Blocks(target_ratio=(1.0, 1.0)), 12, 6)
    high, wide = (on_the_grid(draw(c).targets, draw(c).targets_valid, c).mean((0, 1)) for c in (one, other))
    np.testing.assert_allclose(high, wide.T, atol=0.05)


def test_the_table_of_laws() -> None:
    assert LAWS["blocks"](Options(targets=3)) == Blocks(targets=3)
