"""Corruptions of samples, which leave the data distribution: a density should find them unlikely."""

import numpy as np

CORRUPTIONS = ("inverted", "rotated", "noise")


def corrupt(name: str, xs: np.ndarray) -> np.ndarray:
    """Return a corruption of samples xs [N, ...]; NaN stays NaN.

    `inverted` swaps light and dark, each channel of an image within its own range, which may differ from that of the
    others; `rotated` turns images by a quarter turn; `noise` draws every number anew from all the numbers in xs.

    Raises:
      ValueError: If the name is unknown, or the samples to be rotated are not square images.
    """
    if name == "inverted":
        axis = (0, 1, 2) if xs.ndim == 4 else None
        return np.fmin.reduce(xs, axis) + np.fmax.reduce(xs, axis) - xs
    if name == "rotated":
        if xs.ndim != 4 or xs.shape[1] != xs.shape[2]:
            raise ValueError(f"rotated needs square images, and these samples have shape {xs.shape[1:]}")
        return np.ascontiguousarray(np.rot90(xs, axes=(1, 2)))
    if name == "noise":
        return np.random.default_rng(0).choice(xs[np.isfinite(xs)], xs.shape)
    raise ValueError(f"corruption is {name!r}; it must be one of {', '.join(CORRUPTIONS)}")
