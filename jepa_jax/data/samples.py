"""Samples in columns: the form in which they are scored, and trained on from memory."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from jepa_jax.data.lazy_images import LazyImages
from jepa_jax.data.offsets import offset_notes

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """Samples in columns, either to score or to hold in memory. A `Dataset`.

    Attributes:
      x: Samples [N, ...], float32; or the images of a dataset, which are decoded on access. uint8 if `read_arrays` was
        called with `keep_bytes`.
      log_density: Exact log-density [N], or None.
      label: Labels [N] of any type, or None.
      pair: Positive partner of each row, [N, ...], or None.
      ids: Content of the `id` column, [N], or None for row numbers.
      states: States [N, ...] from which a world rendered the samples, or None.
      tangent: Orthonormal bases of the tangent spaces of the manifold, [N, D, d], if the world knows them; or None.
      rows: Numbers [N] of the samples in their dataset, if only some were taken; None for consecutive ones from 0.
      condition: Numbers [N, C] that are known when the partner of a row is predicted from it, such as a command or an
        instrument; or None.
      held_out: Which rows are never trained on, [N], such as those of other people; None to choose at random.
      categories: Number of categories of each input number, 0 for a continuous one; () if all are continuous. A
        category is a whole number from 0.
      columns: Names of the D columns of a table, () for other data.
      levels: Values of the columns of categories of a table, as `COLUMN=VALUE` in the order of their codes.
      row_features: Numbers [H, G] that describe the rows of a sample [H, W, C]; or None.
      name: Name in messages.
      passed_over: Numbers of the files in a folder that are no pictures, by their kind; None for other data.
      from_bytes: Whether x was uint8 and is divided by 255.
      offset: Number that was subtracted from each column of vectors before they were rounded to float32; () for none.
    """

    x: np.ndarray | LazyImages
    log_density: np.ndarray | None = None
    label: np.ndarray | None = None
    pair: np.ndarray | None = None
    ids: np.ndarray | None = None
    states: np.ndarray | None = None
    tangent: np.ndarray | None = None
    rows: np.ndarray | None = None
    condition: np.ndarray | None = None
    held_out: np.ndarray | None = None
    categories: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    row_features: np.ndarray | None = None
    name: str = ""
    passed_over: dict[str, int] | None = None
    from_bytes: bool = False
    offset: tuple[float, ...] = ()

    in_memory = True

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def id(self, number: int) -> str:
        """Return the content of the `id` column."""
        return str(number if self.ids is None else self.ids[number])

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return one sample, with its label as a number."""
        columns = {"x": self.x, "label": self.numbered_label, "log_density": self.log_density, "pair": self.pair}
        return {name: column[number] for name, column in columns.items() if column is not None}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the samples that a user should know of."""
        notes: tuple[str, ...] = ()
        if isinstance(self.x, np.ndarray) and self.x.ndim == 2 and len(self.x):
            notes = offset_notes(self.x, self.offset, self.columns)
        if self.log_density is None or np.ptp(self.log_density):
            return notes
        same = f"the exact log-density of {self.name} is the same everywhere, so that no ranks can be judged by it"
        return (*notes, same)

    @property
    def classes(self) -> int | None:
        """Number of labels; None without labels."""
        numbered = self.numbered_label
        return None if numbered is None else int(numbered.max()) + 1 or None

    @cached_property
    def numbered_label(self) -> np.ndarray | None:
        """Labels [N] as 0 .. classes - 1 in sorted order, or -1 for no label.

        No label are "", negative numbers and NaN, and all numbers if some are not whole, because these measure
        something.
        """
        if self.label is None:
            return None
        known = self.label != "" if self.label.dtype.kind == "U" else np.ones(len(self.label), bool)
        if self.label.dtype.kind in "iuf":
            known = np.isfinite(self.label) & (self.label >= 0)
            known &= bool((self.label[known] % 1 == 0).all())
        found = np.full(len(known), -1, np.int32)
        found[known] = np.unique(self.label[known], return_inverse=True)[1]
        return found

    def first(self, limit: int) -> "Samples":
        """Return the first `limit` samples."""
        return replace(self, **{name: a[:limit] for name, a in self._columns().items()})

    def take(self, rows: np.ndarray) -> "Samples":
        """Return the samples of these numbers, which keep their ids."""
        taken: dict[str, Any] = {name: a[rows] for name, a in self._columns().items()}
        taken["x"] = self.x.take(rows) if isinstance(self.x, LazyImages) else self.x[rows]
        return replace(self, **(taken | {"rows": rows, "ids": rows if self.ids is None else self.ids[rows]}))

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the arrays that have an entry for each sample."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "row_features"}
        return {name: a for name, a in columns.items() if isinstance(a, np.ndarray)}
