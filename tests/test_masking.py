"""The multi-block masks of I-JEPA: the shapes of blocks, what context and targets share, and what is refused."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax.masking import Masking, Masks, multi_block

KEYS = 500
QUICK = {"xla_backend_optimization_level": 0}  # compiling takes far longer here than running
MASKINGS = {
    "paper": Masking(14),
    "small": Masking(6),
    "tiny": Masking(4, num_targets=2, min_context=2),
    "one, wide": Masking(9, num_targets=1, target_ratio=(0.2, 0.5)),
    "crowded": Masking(8, num_targets=6, target_scale=(0.3, 0.5), min_context=12),
    "small context": Masking(10, context_scale=(0.3, 0.5)),
    "fixed": Masking(8, target_scale=(0.25, 0.25), target_ratio=(1.0, 1.0), context_scale=(1.0, 1.0)),
}


@cache
def draw(masking: Masking, count: int = KEYS) -> Masks:
    """As NumPy arrays with a leading axis of samples."""
    layout = jax.jit(jax.vmap(partial(multi_block, masking=masking)), compiler_options=QUICK)
    return jax.tree.map(np.asarray, layout(jax.random.split(jax.random.key(0), count)))


def on_the_grid(indices: np.ndarray, valid: np.ndarray, side: int) -> np.ndarray:
    """Padded indices [..., n] -> how often each patch is named, [..., side, side]."""
    named = (indices[..., None] == np.arange(side**2)) & valid[..., None]
    return named.sum(-2).reshape(*indices.shape[:-1], side, side)


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
    masking = MASKINGS[name]
    masks = draw(masking)
    assert masks.context.shape == masks.context_valid.shape == (KEYS, masking.max_context)
    assert masks.targets.shape == masks.targets_valid.shape == (KEYS, masking.num_targets, masking.max_target)
    assert masks.context.dtype == masks.targets.dtype == np.int32
    assert masks.context_valid.dtype == masks.targets_valid.dtype == np.bool_
    assert is_padded(masks.context, masks.context_valid)
    assert is_padded(masks.targets, masks.targets_valid)
    assert max(masks.context.max(), masks.targets.max()) < masking.side**2


@pytest.mark.parametrize("name", MASKINGS)
def test_targets_are_rectangles_of_the_area_and_ratio_asked_for(name: str) -> None:
    masking = MASKINGS[name]
    masks = draw(masking)
    grid = on_the_grid(masks.targets, masks.targets_valid, masking.side)
    height, width = sides(grid)
    assert grid.max() == 1
    assert (grid.sum((-1, -2)) == height * width).all()  # all of the box around it
    # Sides are rounded: some height and width less than half a patch away have an area and a ratio in the ranges.
    for near, values, (low, high) in (
        (np.multiply, (height, width), masking.side**2 * np.asarray(masking.target_scale)),
        (np.divide, (height, width), masking.target_ratio),
    ):
        h, w = values
        smaller = w + 0.5 if near is np.divide else w - 0.5
        larger = w - 0.5 if near is np.divide else w + 0.5
        assert (near(h - 0.5, smaller) <= high + 1e-4).all()
        assert (near(h + 0.5, larger) >= low - 1e-4).all()


@pytest.mark.parametrize("name", ["paper", "small", "one, wide", "small context", "fixed"])
def test_the_context_is_one_block_without_the_targets(name: str) -> None:
    masking = MASKINGS[name]
    masks = draw(masking)
    context = on_the_grid(masks.context, masks.context_valid, masking.side)
    targets = on_the_grid(masks.targets, masks.targets_valid, masking.side).any(1)
    assert not (context.astype(bool) & targets).any()
    assert (masks.context_valid.sum(1) >= masking.min_context).all()
    # Nothing but targets is missing from the box around it, which is no larger than the block can be.
    rows, columns = (context.any(axis) for axis in (2, 1))

    def between(line: np.ndarray) -> np.ndarray:
        return (np.cumsum(line, 1) > 0) & (np.cumsum(line[:, ::-1], 1)[:, ::-1] > 0)

    box = between(rows)[:, :, None] & between(columns)[:, None, :]
    assert (context.astype(bool) == box & ~targets).all()
    assert box.sum((1, 2)).max() <= round(masking.side * np.sqrt(masking.context_scale[1])) ** 2


def test_a_crowded_context_keeps_no_more_of_the_targets_than_it_must() -> None:
    masking = Masking(8, num_targets=8, target_scale=(0.5, 0.5), min_context=12)
    masks = draw(masking)
    context = on_the_grid(masks.context, masks.context_valid, 8).astype(bool)
    targets = on_the_grid(masks.targets, masks.targets_valid, 8).any(1)
    count, shared = context.sum((1, 2)), (context & targets).sum((1, 2))
    assert (count >= 12).all()
    assert (count[shared > 0] == 12).all()
    assert 0 < (shared > 0).mean() < 1  # both happen


def test_drawing_anew_makes_shared_patches_rare() -> None:
    masking = MASKINGS["crowded"]
    masks = draw(masking)
    targets = on_the_grid(masks.targets, masks.targets_valid, 8).any(1)
    context = on_the_grid(masks.context, masks.context_valid, 8).astype(bool)
    assert (context & targets).any((1, 2)).mean() < 0.05


def possible(side: int, scale: tuple[float, float], ratio: tuple[float, float]) -> set[tuple[int, int]]:
    """Heights and widths that a fine grid of areas and ratios is rounded to."""
    area, shape = np.meshgrid(side**2 * np.linspace(*scale, 500), np.linspace(*ratio, 500))
    h, w = (np.clip(np.round(np.sqrt(a)), 1, side).astype(int).ravel() for a in (area * shape, area / shape))
    return set(zip(h.tolist(), w.tolist(), strict=True))


@pytest.mark.parametrize("name", MASKINGS)
def test_static_sizes_are_the_largest_that_happen(name: str) -> None:
    masking = MASKINGS[name]
    targets = possible(masking.side, masking.target_scale, masking.target_ratio)
    contexts = possible(masking.side, masking.context_scale, (1.0, 1.0))
    assert masking.max_target == max(h * w for h, w in targets)

    def left(context: tuple[int, int], target: tuple[int, int]) -> int:
        grid = np.zeros((masking.side, masking.side), bool)
        grid[: context[0], : context[1]] = True
        grid[masking.side - target[0] :, masking.side - target[1] :] = False
        return int(grid.sum())

    assert masking.max_context == max(left(c, t) for c in contexts for t in targets)
    seen = draw(masking)
    assert seen.targets_valid.sum(2).max() == masking.max_target


def test_the_largest_context_happens() -> None:
    masking = Masking(5, num_targets=1, target_scale=(0.2, 0.3))
    assert draw(masking).context_valid.sum(1).max() == masking.max_context


def test_blocks_are_everywhere_and_of_every_size() -> None:
    masking = MASKINGS["paper"]
    masks = draw(masking)
    grid = on_the_grid(masks.targets, masks.targets_valid, 14)
    often = grid.mean((0, 1))
    np.testing.assert_allclose(often, often[::-1], atol=0.05)
    np.testing.assert_allclose(often, often[:, ::-1], atol=0.05)
    assert often.min() > 0  # corners too
    np.testing.assert_allclose(grid.sum((2, 3)).mean(), 0.175 * 14**2, rtol=0.02)
    found = set(zip(*(s.ravel().tolist() for s in sides(grid)), strict=True))
    assert found <= possible(14, masking.target_scale, masking.target_ratio)
    assert len({s for s in zip(*(s[0].tolist() for s in sides(grid)), strict=True)}) > 1  # within one image
    one, two = grid[:, 0].sum((1, 2)), grid[:, 1].sum((1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1  # each block has a size of its own


def test_one_key_one_mask() -> None:
    masking = MASKINGS["paper"]
    together = draw(masking)
    assert len({row.tobytes() for row in together.targets}) == KEYS
    alone = jax.jit(partial(multi_block, masking=masking))
    for i, key in enumerate(jax.random.split(jax.random.key(0), KEYS)[:5]):
        for a, b in zip(together, alone(key), strict=True):
            np.testing.assert_array_equal(a[i], b)


def test_gathering_the_valid_patches(key: jax.Array) -> None:
    """What the masks are for: tokens of the context and of each target, by plain indexing."""
    masking = MASKINGS["small"]
    masks = jax.jit(partial(multi_block, masking=masking))(key)
    tokens = jnp.arange(36.0)[:, None]
    assert tokens[masks.context].shape == (masking.max_context, 1)
    assert tokens[masks.targets].shape == (4, masking.max_target, 1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"side": 0}, "side 0"),
        ({"side": 8, "num_targets": 0}, "num_targets 0"),
        ({"side": 8, "min_context": 0}, "min_context 0"),
        ({"side": 8, "target_scale": (0.5, 0.2)}, "target_scale"),
        ({"side": 8, "context_scale": (0.5, 1.5)}, "context_scale"),
        ({"side": 8, "target_ratio": (0.0, 1.0)}, "target_ratio"),
        ({"side": 8, "target_scale": (1.0, 1.0), "target_ratio": (1.0, 1.0)}, "no more than 0 patches"),
        ({"side": 8, "min_context": 64}, "min_context"),
        ({"side": 8, "context_scale": (0.05, 1.0), "min_context": 10}, "no more than 4 patches"),
        ({"side": 1}, "no more than 0 patches"),
    ],
)
def test_what_leaves_no_context_is_refused_in_one_line(fields: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        Masking(**fields)
    assert "\n" not in str(error.value)


def test_the_most_that_can_be_asked_for_is_granted() -> None:
    most = Masking(8).max_context
    assert (draw(Masking(8, min_context=int(0.85 * 64) - 10), 50).context_valid.sum(1) >= 44).all()
    with pytest.raises(ValueError, match="patches of context"):
        Masking(8, min_context=most + 1)
