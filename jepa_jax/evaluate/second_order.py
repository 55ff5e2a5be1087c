"""Second-order features of series, a baseline that sees what no linear map of the numbers does."""

import numpy as np
from numpy.typing import ArrayLike


def second_order(x: ArrayLike, lag: int = 0) -> np.ndarray:
    """Return the covariances of the rows of each sample over its columns.

    Args:
      x: Samples [N, R, T] or [N, R, T, C], whose rows are, for example, sensors, and whose columns are times; the
        channels of a row count as rows.
      lag: Number of columns between the two numbers whose product counts.

    Returns:
      Features [N, F]: the upper triangle without a lag, F = R (R + 1) / 2, or all R^2 entries with one.

    Raises:
      ValueError: If samples have no rows and columns, or fewer columns than the lag needs.
    """
    x = np.asarray(x, np.float64)
    if x.ndim == 4:
        x = np.moveaxis(x, 3, 2).reshape(len(x), -1, x.shape[2])
    if x.ndim != 3 or x.shape[2] <= lag + 1:
        raise ValueError(f"second-order features take [N, R, T] with T > {lag + 1}, not {list(x.shape)}")
    centred = x - x.mean(axis=2, keepdims=True)
    count = x.shape[2] - lag
    product = centred[:, :, :count] @ np.swapaxes(centred[:, :, lag:], 1, 2) / count
    if lag:
        return product.reshape(len(x), -1)
    return product[:, *np.triu_indices(x.shape[1])]
