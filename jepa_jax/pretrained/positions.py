"""Interpolation of position embeddings to another resolution, with the same results as the original code of each model.

The original code uses the bicubic interpolation of torch in three kinds. Each is written here as one matrix per axis,
because the interpolation is separable.
"""

from typing import Literal

import numpy as np

Resize = Literal["bicubic", "bicubic-offset", "bicubic-antialias"]
Grid = tuple[int, int]
GRID_OFFSET = 0.1  # patches that Meta's DINOv2 without registers adds to the new side before it computes the ratio


def resize_positions(positions: np.ndarray, prefix: int, old: Grid, new: Grid, kind: Resize) -> np.ndarray:
    """Resize positions to another grid.

    Args:
      positions: Position embeddings [prefix + rows * columns, D], those of other tokens than patches first.
      prefix: Number of positions of other tokens, which are not changed.
      old: Numbers of rows and columns of the given positions.
      new: Numbers of rows and columns of the result.
      kind: Interpolation: `bicubic` (a = -3/4, not antialiased); `bicubic-offset`, the same at the ratio
        (side + 0.1) / S of each axis; or `bicubic-antialias` (a = -1/2, averaging when the grid shrinks).

    Returns:
      [prefix + rows * columns, D], float32; the same array object if the grid does not change.

    Raises:
      ValueError: If the patches do not form the old grid.
    """
    if old[0] * old[1] != len(positions) - prefix:
        raise ValueError(f"{len(positions)} positions are not {prefix} and {old[0]} x {old[1]}")
    if new == old:
        return positions
    rows, columns = (weights(native, side, kind) for native, side in zip(old, new, strict=True))
    grid = positions[prefix:].reshape(*old, -1).astype(np.float64)
    resized = np.einsum("ai,bj,ijd->abd", rows, columns, grid, optimize=True)
    return np.concatenate([positions[:prefix], resized.reshape(new[0] * new[1], -1).astype(np.float32)])


def weights(native: int, side: int, kind: Resize) -> np.ndarray:
    """Return the matrix of the interpolation along one axis [side, native]; each row sums to one."""
    if kind == "bicubic-antialias":
        scale = max(native / side, 1.0)  # of the filter, which is as wide as the new cells
        centre = (np.arange(side) + 0.5) * native / side
        distance = (np.arange(native)[None] + 0.5 - centre[:, None]) / scale
        matrix = cubic(distance, -0.5)  # torch truncates the filter at the border and normalises it
    else:
        ratio = (side + GRID_OFFSET) / native if kind == "bicubic-offset" else side / native
        centre = (np.arange(side) + 0.5) / ratio - 0.5
        first = np.floor(centre).astype(int)
        matrix = np.zeros((side, native))
        for step in range(-1, 3):  # the outermost patch is repeated beyond the border
            at = np.clip(first + step, 0, native - 1)
            np.add.at(matrix, (np.arange(side), at), cubic(centre - (first + step), -0.75))
    return matrix / matrix.sum(axis=1, keepdims=True)


def cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Evaluate the kernel of Keys at distances `t`.

    Source: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981), eq. 15.
    """
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
