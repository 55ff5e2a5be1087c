"""Every law of masks: what is seen and asked for, how much of it, and that nothing is left out for ever."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.masking import Blocks, Cross, Curriculum, Law, Masks, Windows, law_of

COLUMNS_OF_A_TABLE = Cross(rows="subset", row_share=(0.6, 0.85), asked=("rows",), asked_share=(0.2, 0.7), targets=4)
TIMES = Cross(columns="runs", column_share=(0.75, 0.85), column_runs=3)
REGIONS = Cross(rows="subset", row_share=(0.45, 0.6), columns="runs", column_share=(0.1, 0.3), asked_share=(0.5, 1.0))
BANDS = Cross(rows="runs", row_share=(0.3, 0.4), row_runs=2, columns="runs", column_share=(0.3, 0.4), asked=("both",))
APART = Cross(columns="runs", column_share=(0.4, 0.5), column_gap=2)
CASES: list[tuple[str, Law, tuple[int, int]]] = [
    ("columns of a table", COLUMNS_OF_A_TABLE, (9, 1)),
    ("times", TIMES, (1, 20)),
    ("times of several rows", TIMES, (3, 16)),
    ("regions and times", REGIONS, (10, 6)),
    ("times apart", APART, (2, 12)),
    ("half of an odd side", Cross(rows="runs"), (7, 2)),
    ("bands", BANDS, (8, 9)),
    ("windows", Windows(3, 0.8), (6, 5)),
    ("blocks", Blocks(2), (4, 6)),
    ("curriculum", Curriculum(Blocks(3), BANDS), (6, 6)),
]
DRAWS = 400


def keys() -> jax.Array:
    return jax.random.split(jax.random.key(3), DRAWS)


@functools.cache  # compiling a law takes seconds
def drawn(law: Law, grid: tuple[int, int], progress: float = 0.5) -> Masks:
    law.check(grid)
    return jax.jit(jax.vmap(lambda key: law.draw(key, grid, jnp.asarray(progress))))(keys())


def chosen(index: np.ndarray, valid: np.ndarray, count: int) -> np.ndarray:
    """Which tokens are in each mask, bool [..., N]."""
    found = np.zeros((*index.shape[:-1], count), bool)
    for at in np.ndindex(index.shape[:-1]):
        found[at][index[at][valid[at]]] = True
    return found


@pytest.mark.parametrize(("law", "grid"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_seen_is_not_asked_for_and_every_token_is_both_at_some_time(law: Law, grid: tuple[int, int]) -> None:
    masks, count = Masks(*map(np.asarray, drawn(law, grid))), grid[0] * grid[1]
    seen = chosen(masks.context, masks.context_valid, count)
    asked = chosen(masks.targets, masks.targets_valid, count)
    if not isinstance(law, Blocks | Curriculum):  # blocks may keep a token of a target where little else is left
        assert not (seen[:, None] & asked).any()
    assert seen.any(axis=1).all()
    assert asked.any(axis=2).any(axis=1).all()
    assert seen.any(axis=0).all()
    assert asked.any(axis=(0, 1)).all()
    # Nothing was cut: a token that is chosen twice or not at all would make these differ.
    assert (seen.sum(1) == masks.context_valid.sum(1)).all()
    assert (asked.sum(2) == masks.targets_valid.sum(2)).all()


@pytest.mark.parametrize(("law", "grid"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mask_depends_on_its_key_alone(law: Law, grid: tuple[int, int]) -> None:
    alone = jax.jit(lambda key: law.draw(key, grid, jnp.asarray(0.5)))(keys()[1])
    for a, b in zip(drawn(law, grid), alone, strict=True):
        np.testing.assert_array_equal(a[1], b)


def test_what_is_asked_for_is_further_than_the_gap_from_what_is_seen() -> None:
    masks = Masks(*map(np.asarray, drawn(APART, (2, 12))))
    seen = chosen(masks.context, masks.context_valid, 24).reshape(DRAWS, 2, 12).any(axis=1)
    asked = chosen(masks.targets, masks.targets_valid, 24)[:, 0].reshape(DRAWS, 2, 12).any(axis=1)
    apart = np.abs(np.arange(12)[:, None] - np.arange(12))
    nearest = [apart[np.ix_(a, s)].min() for a, s in zip(asked, seen, strict=True)]
    assert min(nearest) == 3
    # All others of the run are asked for.
    assert (seen.sum(1) + asked.sum(1) >= 12 - 2 * 2).all()


def test_shares_of_rows_and_columns_are_in_their_ranges() -> None:
    masks = Masks(*map(np.asarray, drawn(REGIONS, (20, 30))))
    seen = chosen(masks.context, masks.context_valid, 600).reshape(DRAWS, 20, 30)
    rows, columns = (~seen.any(axis=2)).sum(1), (~seen.any(axis=1)).sum(1)
    assert (rows.min(), rows.max()) == (9, 12)
    assert (columns.min(), columns.max()) == (3, 9)
    hidden = 600 - seen.sum((1, 2))
    asked = masks.targets_valid.sum((1, 2)) / hidden
    assert asked.min() >= 0.49
    assert asked.max() <= 1


def test_runs_are_runs() -> None:
    law = Cross(columns="runs", column_share=(0.4, 0.4), column_runs=2)
    masks = Masks(*map(np.asarray, drawn(law, (1, 20))))
    asked = chosen(masks.targets, masks.targets_valid, 20)[:, 0]
    starts = (np.diff(np.pad(asked, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(1)
    assert (asked.sum(1) == 8).all()
    assert set(starts) == {1, 2}  # two runs may touch


@pytest.mark.parametrize(("group", "hidden"), [("rows", (1, 0)), ("columns", (0, 1)), ("both", (1, 1))])
def test_groups_of_hidden_tokens(group: str, hidden: tuple[int, int]) -> None:
    law = Cross(rows="subset", columns="subset", asked=(group,))  # type: ignore[arg-type]
    masks = Masks(*map(np.asarray, drawn(law, (6, 4))))
    seen = chosen(masks.context, masks.context_valid, 24).reshape(DRAWS, 6, 4)
    asked = chosen(masks.targets, masks.targets_valid, 24).reshape(DRAWS, 6, 4)
    a, b = ~seen.any(axis=2, keepdims=True), ~seen.any(axis=1, keepdims=True)
    np.testing.assert_array_equal(asked, (a if hidden[0] else ~a) & (b if hidden[1] else ~b))


def test_nothing_is_seen_outside_of_a_window() -> None:
    masks = Masks(*map(np.asarray, drawn(Windows(3, 0.8), (6, 7))))
    for i in range(20):
        at = np.concatenate([masks.context[i][masks.context_valid[i]], masks.targets[i, 0]])
        assert len(set(at)) == 9
        for side in np.divmod(at, 7):
            assert np.ptp(side) == 2


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_late_masks_come_as_often_as_the_curriculum_says(progress: float) -> None:
    law = Curriculum(Windows(2, 0.5), Cross(columns="subset", column_share=(0.5, 0.5)), start=0.1)
    masks = drawn(law, (4, 8), progress)
    late = np.asarray(masks.context_valid).sum(1) == 16
    assert float(law.late_share(progress)) == pytest.approx(min(1, np.sqrt(progress * 0.99) + 0.01))
    assert late.mean() == pytest.approx(min(1, np.sqrt(progress * 0.99) + 0.01), abs=0.08)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cross(), "rows and columns none"),
        (lambda: Cross(rows="subset", row_share=(0.6, 0.5)), "row_share"),
        (lambda: Cross(rows="subset", row_share=(0.5, 1.0)), "row_share"),
        (lambda: Cross(rows="subset", asked=("columns",)), "asked columns has no tokens"),
        (lambda: Cross(rows="subset", asked_share=(0.0, 0.5)), "asked_share"),
        (lambda: Cross(columns="runs").check((4, 1)), "hides columns needs two at least, and the grid is 4 x 1"),
        (
            lambda: Cross(columns="runs", column_share=(0.6, 0.7)).check((1, 10)),
            "6 of 10 columns always hides the middle",
        ),
        (lambda: Cross(rows="runs", row_share=(0.6, 0.6)).check((7, 2)), "use a smaller row_share, or more row_runs"),
        (lambda: Cross(columns="runs", column_gap=2).check((1, 8)), "column_gap 2 leaves nothing of a run of 4"),
        (lambda: Cross(columns="subset", column_gap=1), "use columns runs, not subset"),
        (lambda: Windows(3, 1.0), "share 1.0"),
        (lambda: Windows(5).check((4, 9)), "5 x 5 tokens is larger than 4 x 9"),
        (lambda: Curriculum(Windows(3), Windows(2), start=1.0), "start 1.0"),
        (lambda: Curriculum(Windows(3), Windows(9)).check((4, 4)), "9 x 9"),
    ],
)
def test_masks_that_cannot_be_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_options_become_laws() -> None:
    late = cfg.Cross(rows="runs", columns="runs", asked=("both",))
    assert law_of(cfg.Curriculum(early=cfg.Windows(size=2), late=late, start=0.2)) == Curriculum(
        Windows(2), Cross(rows="runs", columns="runs", asked=("both",)), 0.2
    )
