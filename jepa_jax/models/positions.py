"""Positions of tokens on a grid, by axis: rows and columns may be told apart in different ways, or not at all."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.models.transformer import Grid, Params, sincos_table

Axis = Literal["none", "sincos", "learned", "given"]
LEARNED_SCALE = 0.5  # deviation of learned positions at the start, near that of sines and cosines


@dataclass(frozen=True)
class GridPositions:
    """Positions [rows * columns, D], of which half of the numbers are for the column and half for the row of a token.

    If one axis has none, the other has all numbers.

    Attributes:
      rows: `sincos` (constant), `learned`, `given` (a learned linear map of given numbers of each row), or `none`.
      columns: `sincos`, `learned` or `none`.
      features: Number G of the given numbers of a row.

    Raises:
      ValueError: If rows have no given numbers but are to be told apart by them.
    """

    rows: Axis
    columns: Axis
    features: int = 0

    def __post_init__(self) -> None:
        """Check that the rows have the numbers that they need."""
        if self.rows == "given" and self.features < 1:
            raise ValueError("row positions `given` need `row_features`, which these data do not have")

    def init(self, key: Array, grid: Grid, width: int, features: Array | None = None) -> Params:
        """Return random weights of the axes that have some.

        Args:
          key: Key.
          grid: Numbers of rows and columns of tokens.
          width: Width of a token, D.
          features: Given numbers of each row, [rows, G], which are constant in training; None for zeros.

        Raises:
          ValueError: If the width cannot be divided.
        """
        params: dict[str, Any] = {}
        for name, kind, side, k in zip(
            ("row", "column"), (self.rows, self.columns), grid, jax.random.split(key), strict=True
        ):
            part = self._width(width)
            if kind == "learned":
                params[name] = LEARNED_SCALE * jax.random.normal(k, (side, part))
            elif kind == "given":
                given = jnp.zeros((side, self.features)) if features is None else jnp.asarray(features, jnp.float32)
                kernel = jax.random.normal(k, (self.features, part)) * self.features**-0.5
                params[name] = {"features": given, "kernel": kernel}
            elif kind == "sincos":
                sincos_table(side, part)  # which checks the width
        return params

    def table(self, params: Params, grid: Grid, width: int) -> Array:
        """Return the positions [rows * columns, D] for the grid with which the weights were made."""
        row, column = (
            self._axis(kind, params.get(name), side, self._width(width))
            for name, kind, side in zip(("row", "column"), (self.rows, self.columns), grid, strict=True)
        )
        parts = []
        if column is not None:
            parts.append(jnp.tile(column, (grid[0], 1)))
        if row is not None:
            parts.append(jnp.repeat(row, grid[1], axis=0))
        return jnp.concatenate(parts, axis=1) if parts else jnp.zeros((grid[0] * grid[1], width))

    def _width(self, width: int) -> int:
        if "none" in (self.rows, self.columns):
            return width
        if width % 2:
            raise ValueError(f"positions of rows and of columns need an even width, not {width}")
        return width // 2

    @staticmethod
    def _axis(kind: Axis, params: Any, side: int, width: int) -> Array | None:
        if kind == "none":
            return None
        if kind == "sincos":
            return jnp.asarray(sincos_table(side, width), jnp.float32)
        if kind == "learned":
            return params
        return jax.lax.stop_gradient(params["features"]) @ params["kernel"]


def row_features(features: np.ndarray, rows: int) -> np.ndarray:
    """Return the given numbers of each row of tokens, the means of those of its rows of numbers, standardised.

    Args:
      features: Given numbers [H, G].
      rows: Number of rows of tokens, which divides H.
    """
    grouped = np.asarray(features, np.float64).reshape(rows, -1, features.shape[1]).mean(axis=1)
    spread = grouped.std(axis=0)
    return ((grouped - grouped.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
