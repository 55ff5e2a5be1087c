"""Columns of a table of vectors: those that have no density, those with repeated values, and the distances of rows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NEIGHBOUR = 10  # neighbour whose distance sets the noise of a row
NEIGHBOUR_SAMPLES = 50_000  # rows among which neighbours are searched; more take minutes
NEIGHBOUR_QUERIES = 1000  # rows whose neighbours are searched at once, which bounds the memory
DEPENDENT = 1e-9  # least eigenvalue of a correlation matrix, over the largest; below it float32 has no digits left
MAX_CORRELATED_SIZE = 1000  # columns above which linear dependence is not looked for
FEW_ROWS = 200  # below which held-out samples say little
MANY_COLUMNS = 256
NAMED = 6  # columns that a note names


class Table(NamedTuple):
    """Rows whose columns all vary continuously, and what was found in them.

    Attributes:
      x: Rows [N, D], in which repeated values were spread.
      notes: Sentences about columns and rows that a user should know of.
      first: Number of the first row that is equal to each row, [N]; its own where the values of all columns repeat.
      degenerate: Whether some column follows from others, so that there is no density.
    """

    x: np.ndarray
    notes: tuple[str, ...]
    first: np.ndarray
    degenerate: bool


def continuous(x: np.ndarray, seed: int = 0, names: Sequence[str] = ()) -> Table:
    """Spread the repeated values of columns, and name the columns and rows for which a density is not what it seems.

    Values of a column that repeat, such as whole numbers, are spread evenly over the half of the way to the next values
    on either side (uniform dequantisation), because a density of repeated values has no upper limit.

    Args:
      x: Rows [N, D], float32.
      seed: Seed of the spread.
      names: Names of the columns; () to number them.
    """
    rows, size = x.shape
    notes, out, rng = [], x.copy(), np.random.default_rng(seed)
    constant, discrete, coarse = [], [], []
    first = first_copies(x)
    copies = int((first != np.arange(rows)).sum())
    # Copies of whole rows repeat values too, but not more often than ten times.
    repeated = max((rows - copies) // 2, rows // 10)
    for column in range(size):
        values, inverse, count = np.unique(x[:, column], return_inverse=True, return_counts=True)
        magnitude = float(np.abs(values).max())
        if _is_coarse(x[:, column], magnitude):
            coarse.append(column)
        if len(values) == 1:
            constant.append(column)
            gap = np.full(1, max(1.0, 1e-3 * magnitude))
        elif len(values) <= repeated:
            discrete.append(column)
            between = np.diff(values.astype(np.float64))
            gap = np.minimum(np.append(between, np.inf), np.insert(between, 0, np.inf))
        else:
            continue
        spread = np.where(count > 1, gap, 0)[inverse] * (rng.random(rows) - 0.5)
        out[:, column] = (x[:, column] + spread).astype(np.float32)
    if constant:
        notes.append(f"{named(constant, names)} never varies: it is left out of the density")
    if discrete:
        notes.append(
            f"{named(discrete, names)} repeats its values: each is spread evenly half of the way to its neighbours, "
            "so that the density is that of the values divided by their spacing"
        )
    if coarse:
        notes.append(
            f"{named(coarse, names)} varies so little around a large mean that float32 keeps at most three digits; "
            "subtract the mean in float64 first"
        )
    dependent = _dependent(np.delete(x, constant, axis=1), np.delete(np.arange(size), constant))
    if dependent:
        notes.append(
            f"{named(dependent, names)} follows from the others of these linearly: the data fill no volume, so that "
            "their density is infinite there, and what is learned depends on rounding; leave one out"
        )
    if len(constant) + len(discrete) == size:
        first = np.arange(rows)  # equal rows are no copies where every value repeats
    elif copies:
        notes.append(
            f"{copies} rows are copies of others; they are held out together, and count as often as they occur"
        )
    notes += _about_size(rows, size)
    return Table(out, tuple(notes), first, bool(dependent))


def _is_coarse(column: np.ndarray, magnitude: float) -> bool:
    """Return whether float32 keeps at most three digits of a column, but some; without any, the samples say so."""
    deviation = np.std(column.astype(np.float64))
    return bool(np.spacing(np.float32(magnitude)) <= deviation < 1e3 * np.finfo(np.float32).eps * magnitude)


def _about_size(rows: int, size: int) -> list[str]:
    """Return the sentences about a table of this many rows and columns."""
    notes = []
    if rows < FEW_ROWS:
        notes.append(f"{rows} rows are too few to learn a density and to judge it; collect at least {FEW_ROWS}")
    if size > MANY_COLUMNS:
        notes.append(
            f"{size} columns: time and memory grow with the square of their number, and some ten thousand rows say "
            f"little about a density in more than {MANY_COLUMNS} dimensions; reduce them to the leading principal "
            "components first, or use the config `images` for pictures"
        )
    return notes


def first_copies(x: np.ndarray) -> np.ndarray:
    """Return for each row [N] the number of the first row that is equal to it."""
    _, first, inverse = np.unique(x, axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


def neighbour_distances(standard: np.ndarray) -> np.ndarray:
    """Return the distance of each standardised row [N, D] from its tenth neighbour, [N].

    Rows with ten copies have no distance of their own, and take the smallest positive one.
    """
    from sklearn.neighbors import NearestNeighbors  # imported here, because scikit-learn takes a second to import

    known = standard[_searched(len(standard))]
    count = min(NEIGHBOUR + 1, len(known))
    found = NearestNeighbors(n_neighbors=count).fit(known).kneighbors(standard)[0][:, -1]
    positive = found[found > 0]
    return np.maximum(found, positive.min() if len(positive) else 1.0)


def nearest_rows(standard: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the nearest other rows of each standardised row [N, D], [N, count], count < N.

    Of more than 50,000 rows, they are the nearest among 50,000.
    """
    from sklearn.neighbors import NearestNeighbors  # imported here, because scikit-learn takes a second to import

    among = _searched(len(standard))
    search = NearestNeighbors(n_neighbors=min(count + 1, len(among))).fit(standard[among])
    found = np.empty((len(standard), count), np.int32)
    for start in range(0, len(standard), NEIGHBOUR_QUERIES):
        rows = np.arange(start, min(start + NEIGHBOUR_QUERIES, len(standard)))
        near = among[search.kneighbors(standard[rows], return_distance=False)]
        # A row is not always the first of its neighbours, where others are equal to it.
        other = np.argsort(near == rows[:, None], axis=1, kind="stable")[:, :count]
        found[rows] = np.take_along_axis(near, other, axis=1)
    return found


def _searched(count: int) -> np.ndarray:
    """Return the numbers of the rows among which neighbours are searched, all or a random choice."""
    if count <= NEIGHBOUR_SAMPLES:
        return np.arange(count)
    return np.random.default_rng(0).choice(count, NEIGHBOUR_SAMPLES, replace=False)


def local_noise(x: np.ndarray, mean: ArrayLike, scale: ArrayLike, factor: float) -> np.ndarray:
    """Return the deviation [N] of the noise of each row [N, D], in deviations of the columns: c d / sqrt(D).

    Args:
      x: Rows.
      mean: Mean of the columns.
      scale: Deviation of the columns.
      factor: c; d is the distance of the tenth neighbour.
    """
    standard = (x - np.asarray(mean)) / np.asarray(scale)
    return (factor / x.shape[1] ** 0.5 * neighbour_distances(standard)).astype(np.float32)


def _dependent(x: np.ndarray, names: np.ndarray) -> list[int]:
    """Return the columns in the first linear dependence between columns that vary; [] if there is none."""
    if not 1 < x.shape[1] <= min(MAX_CORRELATED_SIZE, len(x) - 1):
        return []
    standard = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    standard /= standard.std(0)
    values, vectors = np.linalg.eigh(standard.T @ standard / len(x))
    if values[0] > DEPENDENT * values[-1]:
        return []
    involved = np.abs(vectors[:, 0])
    return [int(n) for n in names[involved > 1e-3 * involved.max()]]


def named(columns: list[int], names: Sequence[str]) -> str:
    """Return the columns by name, or by number from 0, in words; what follows is in the singular."""
    if len(columns) == 1:
        return f"column {names[columns[0]] if names else columns[0]}"
    shown = ", ".join(str(names[column] if names else column) for column in columns[:NAMED])
    return f"each of the columns {shown}{', ...' if len(columns) > NAMED else ''} ({len(columns)} in all)"
