"""Samples that are not of the data, made of the data: what a density should find unlikely."""

import numpy as np

CORRUPTIONS = ("inverted", "rotated", "noise")


def corrupt(name: str, xs: np.ndarray) -> np.ndarray:
    """A corruption of samples xs [N, ...]; what is NaN there is NaN here.

    `inverted` swaps light and dark, each channel of an image in its own range, which need not be that of the others;
    `rotated` turns images by a quarter; `noise` draws every number anew from all the numbers in xs.

    Raises:
      ValueError: an unknown name, or a rotation of what is not a square image.
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
    raise ValueError(f"{name} is none of {', '.join(CORRUPTIONS)}")
