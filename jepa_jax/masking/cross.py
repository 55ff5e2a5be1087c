"""Masks that hide whole rows and whole columns of a grid of tokens: columns of a table, times, sensors, regions."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.masking.masks import Grid, Masks, pack_all, pick

Rule = Literal["none", "subset", "runs"]
Group = Literal["rows", "columns", "both"]


@dataclass(frozen=True)
class Cross:
    """Options of the masks that hide rows A and columns B; the visible tokens are in neither. This is a `Law`.

    The masks of T-JEPA (arXiv 2410.05016) hide a subset of the rows of a grid with one column, those of ECG-JEPA (arXiv
    2410.13867, arXiv 2410.08559) times in all leads, those of Brain-JEPA (arXiv 2409.19407) regions and times, and the
    late ones of A-JEPA (arXiv 2311.15830) times and frequencies.

    Raises:
      ValueError: If no mask can have these values.
    """

    rows: Rule = "none"
    """How the hidden rows are chosen: `subset`, any rows; `runs`, neighbouring rows; or `none`."""
    row_share: tuple[float, float] = (0.5, 0.5)
    """Hidden rows divided by all rows, uniform in this range; at least one row is hidden, and one is visible."""
    row_runs: int = 1
    """Number of runs of hidden rows, of random lengths from half of the equal one on; they may touch each other."""
    columns: Rule = "none"
    """How the hidden columns are chosen, as for rows."""
    column_share: tuple[float, float] = (0.5, 0.5)
    """Hidden columns divided by all columns, as for rows."""
    column_runs: int = 1
    """Number of runs of hidden columns."""
    column_gap: int = 0
    """Columns at the ends of a run, beside visible ones, that are not asked for."""
    asked: tuple[Group, ...] = ("rows", "columns", "both")
    """Hidden tokens that are predicted: those in hidden `rows` and visible columns, those in hidden `columns` and
    visible rows, and those in `both` a hidden row and a hidden column."""
    asked_share: tuple[float, float] = (1.0, 1.0)
    """Predicted tokens of a target divided by all of those, uniform in this range."""
    targets: int = 1
    """Number of targets, M, each with a share of its own."""

    def __post_init__(self) -> None:
        """Check the values."""
        allowed = {
            "rows and columns none": (self.rows, self.columns) != ("none", "none"),
            **{name: 0 < low <= high < 1 for name, (low, high) in self._shares().items()},
            "asked_share": 0 < self.asked_share[0] <= self.asked_share[1] <= 1,
            **{name: getattr(self, name) >= 1 for name in ("row_runs", "column_runs", "targets")},
            "column_gap": self.column_gap >= 0,
        }
        if wrong := [f"{name} {getattr(self, name, '')!r}".strip(" '") for name, ok in allowed.items() if not ok]:
            raise ValueError(f"a mask cannot have {', '.join(wrong)}; check the range and its order")
        if self.column_gap and self.columns != "runs":
            raise ValueError(
                f"column_gap {self.column_gap} is at the ends of runs; use columns runs, not {self.columns}"
            )
        if not self._groups():
            raise ValueError(f"asked {' '.join(self.asked)} has no tokens if {self._open()} are never hidden")

    def check(self, grid: Grid) -> None:
        """Check that rows and columns of this grid can be hidden.

        Raises:
          ValueError: If there is only one, if some would never be visible, or if nothing is left to ask for.
        """
        sides = (
            ("rows", self.rows, self.row_runs, grid[0], int(self._hidden(grid)[0][0])),
            ("columns", self.columns, self.column_runs, grid[1], int(self._hidden(grid)[1][0])),
        )
        for name, rule, runs, side, fewest in sides:
            if rule != "none" and side < 2:
                raise ValueError(f"a mask that hides {name} needs two at least, and the grid is {grid[0]} x {grid[1]}")
            if rule == "runs" and runs == 1 and 2 * fewest > side:
                one = name.removesuffix("s")
                raise ValueError(
                    f"a single run of {fewest} of {side} {name} always hides the middle ones, so that they are never "
                    f"seen; use a smaller {one}_share, or more {one}_runs"
                )
        hidden = int(self._hidden(grid)[1][0])
        shortest = hidden if self.column_runs == 1 else hidden // (2 * self.column_runs)
        if self.column_gap and shortest <= 2 * self.column_gap:
            raise ValueError(
                f"column_gap {self.column_gap} leaves nothing of a run of {shortest} of {grid[1]} columns; use less"
            )

    def sizes(self, grid: Grid) -> tuple[int, int]:
        """Return the largest possible numbers of visible tokens and of tokens in a target."""
        (rows, columns), (hidden_rows, hidden_columns) = grid, self._hidden(grid)
        a, b = np.arange(hidden_rows[0], hidden_rows[1] + 1)[:, None], np.arange(*hidden_columns + np.array([0, 1]))
        counts = self._counts(a, b, rows, columns, self.column_gap)
        asked = sum(size for group, size in counts.items() if group in self.asked)
        context = (rows - hidden_rows[0]) * (columns - hidden_columns[0])
        return int(context), max(1, int(np.round(self.asked_share[1] * np.max(asked))))

    def draw(self, key: Array, grid: Grid, progress: Array | float = 0.0) -> Masks:
        """Draw the masks of one sample.

        Args:
          key: Key of this sample.
          grid: Numbers of rows and columns of tokens, static.
          progress: Unused.
        """
        del progress
        row_key, column_key, asked_key = jax.random.split(key, 3)
        rows, columns = self._hidden(grid)
        a = _hide(row_key, self.rows, grid[0], rows, self.row_runs)[:, None]
        b = _hide(column_key, self.columns, grid[1], columns, self.column_runs)[None, :]
        inside = _without_ends(b, self.column_gap)
        groups = {"rows": a & ~b, "columns": ~a & inside, "both": a & inside}
        asked = jnp.any(jnp.stack([groups[name] for name in self.asked]), axis=0).reshape(-1)
        thinned = jax.vmap(lambda k: _thinned(k, asked, self.asked_share))(jax.random.split(asked_key, self.targets))
        return pack_all((~a & ~b).reshape(-1), thinned, *self.sizes(grid))

    def _shares(self) -> dict[str, tuple[float, float]]:
        rules = {"row_share": self.rows, "column_share": self.columns}
        return {name: getattr(self, name) for name, rule in rules.items() if rule != "none"}

    def _hidden(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest number of hidden rows, and those of columns."""
        counts = []
        for rule, share, side in zip((self.rows, self.columns), (self.row_share, self.column_share), grid, strict=True):
            # Halves are rounded down: a run of more than half would always hide the middle of an odd side.
            low_high = np.clip(np.ceil(np.array(share) * side - 0.5), 1, max(1, side - 1))
            counts.append((low_high if rule != "none" else np.zeros(2)).astype(int))
        return counts[0], counts[1]

    def _groups(self) -> list[str]:
        """Return the groups that are asked for and have tokens."""
        needs = {"rows": (self.rows,), "columns": (self.columns,), "both": (self.rows, self.columns)}
        return [name for name in self.asked if "none" not in needs[name]]

    def _open(self) -> str:
        return "rows" if self.rows == "none" else "columns"

    @staticmethod
    def _counts(a: np.ndarray, b: np.ndarray, rows: int, columns: int, gap: int) -> dict[str, np.ndarray]:
        """Return the largest number of tokens in each group, for numbers of hidden rows [., 1] and of columns [.]."""
        inside = b - gap  # a run at the edge of the grid has one end
        return {"rows": a * (columns - b), "columns": (rows - a) * inside, "both": a * inside}


def _hide(key: Array, rule: Rule, side: int, counts: np.ndarray, runs: int) -> Array:
    """Return which of `side` rows or columns are hidden, bool [side], by a rule and the range of their number."""
    if rule == "none":
        return jnp.zeros(side, bool)
    count_key, place_key = jax.random.split(key)
    count = jax.random.randint(count_key, (), counts[0], counts[1] + 1, jnp.int32)
    if rule == "subset":
        return pick(place_key, jnp.ones(side, bool), count)
    # The visible rows are divided among the places before, between and after the runs. Runs have lengths of their own,
    # from half of the equal one on: equal runs would never leave some rows visible where most are hidden.
    gap_key, length_key = jax.random.split(place_key)
    before = jnp.sort(jax.random.randint(gap_key, (runs,), 0, side - count + 1, jnp.int32))
    least = count // (2 * runs)
    cuts = jnp.sort(jax.random.randint(length_key, (runs - 1,), 0, count - runs * least + 1, jnp.int32))
    ends = jnp.concatenate([cuts, (count - runs * least)[None]])
    lengths = least + jnp.diff(ends, prepend=0)
    starts = before + jnp.cumsum(lengths, dtype=jnp.int32) - lengths
    place = jnp.arange(side, dtype=jnp.int32)[None]
    return jnp.any((place >= starts[:, None]) & (place < (starts + lengths)[:, None]), axis=0)


def _without_ends(hidden: Array, gap: int) -> Array:
    """Return which hidden columns are further than `gap` from any visible one, bool [1, columns]."""
    padded = jnp.pad(hidden, ((0, 0), (gap, gap)), constant_values=True)
    shifts = [padded[:, i : i + hidden.shape[1]] for i in range(2 * gap + 1)]
    return jnp.all(jnp.stack(shifts), axis=0)


def _thinned(key: Array, asked: Array, share: tuple[float, float]) -> Array:
    """Return a random share of the tokens that are asked for, at least one, bool [N]."""
    if share == (1.0, 1.0):
        return asked
    share_key, pick_key = jax.random.split(key)
    drawn = jax.random.uniform(share_key, (), jnp.float32, *share)
    kept = jnp.maximum(1, jnp.round(drawn * jnp.sum(asked, dtype=jnp.float32)).astype(jnp.int32))
    return pick(pick_key, asked, kept)
