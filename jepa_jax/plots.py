"""Plots that the training and the scoring program share. Each takes matplotlib axes and arrays."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

if "matplotlib" not in sys.modules:
    # Its import fails if the backend of a notebook is not installed here, which a figure in a file does not need.
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend

from matplotlib.figure import Figure

__all__ = ["Figure", "as_images", "extremes", "scatter", "spectrum"]


def scatter(ax: Any, learned: np.ndarray, exact: np.ndarray, spearman: float, slope: float) -> None:
    """Plot learned against exact log-density [N], shifted to the same mean, with the line of equality."""
    learned = learned + np.mean(exact - learned)
    ax.plot(exact, learned, ".", ms=2, alpha=0.4)
    ends = [exact.min(), exact.max()]
    ax.plot(ends, ends, "k--", lw=1, label="equal")
    agreement = (
        "no agreement: constant, or few" if np.isnan(spearman) else f"Spearman {spearman:.3f}, slope {slope:.2f}"
    )
    ax.set(
        xlabel="exact log-density, nats",
        ylabel="learned, shifted to the same mean, nats",
        title=f"{agreement} (N = {len(exact)})",
    )
    low, high = np.quantile(learned, [0.002, 0.998])
    ax.set_ylim(min(low, ends[0]) - 1, max(high, ends[1]) + 1)
    ax.legend(loc="upper left")


def spectrum(ax: Any, singular_values: np.ndarray) -> None:
    """Plot the median and the 5 to 95 % band of singular values [N, R] against their index."""
    sigma = np.maximum(singular_values, 1e-8)
    index = np.arange(1, sigma.shape[1] + 1)
    low, middle, high = np.quantile(sigma, [0.05, 0.5, 0.95], axis=0)
    ax.fill_between(index, low, high, alpha=0.3, label="5 to 95 % of the samples")
    ax.plot(index, middle, marker="." if len(index) < 40 else None, label="median")
    ax.set(yscale="log", xlabel="index", ylabel="singular value of the Jacobian", title="spectrum")
    ax.legend()


def as_images(xs: np.ndarray) -> Callable[[int], Image.Image]:
    """Return a function from a row of xs [N, H, W, C] to its image.

    Colours are in [0, 1]; a single channel is shown from white, the smallest value in xs, to black, the largest.
    """
    low, high = float(xs.min()), float(xs.max())

    def image(row: int) -> Image.Image:
        x = xs[row] if xs.shape[-1] == 3 else (high - xs[row, :, :, 0]) / max(high - low, 1e-12)
        return Image.fromarray(np.round(255 * np.clip(x, 0, 1)).astype(np.uint8))

    return image


def extremes(
    figure: Any, xs: np.ndarray | Callable[[int], Image.Image | None], score: np.ndarray, columns: int = 10
) -> None:
    """Show the most and the least likely images, as in the paper's first figure.

    Args:
      figure: A matplotlib figure.
      xs: Images [N, H, W, C]; or a function from a row to its image, which is called only for the images that are
        shown.
      score: Scores [N] in nats; NaN for images that are not to be shown.
      columns: Number of images per row of the figure.
    """
    image = as_images(xs) if isinstance(xs, np.ndarray) else xs
    shown = np.flatnonzero(np.isfinite(score))
    order = shown[np.argsort(-score[shown], kind="stable")]
    axes, half = figure.subplots(4, columns).reshape(2, -1), -(-len(order) // 2)
    for rows, places in ((order[:half][: axes.shape[1]], axes[0]), (order[half:][-axes.shape[1] :], axes[1])):
        for ax, row in zip(places, rows, strict=False):
            if (picture := image(int(row))) is not None:
                ax.imshow(picture.convert("RGB"))
            ax.set_title(f"{score[row]:.0f}", fontsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.suptitle("most likely (upper two rows), least likely (lower two rows); JEPA-SCORE in nats")
