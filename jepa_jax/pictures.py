"""Panels that both programs draw. Each takes a matplotlib axes and arrays."""

from typing import Any

import numpy as np


def scatter(ax: Any, learned: np.ndarray, exact: np.ndarray, spearman: float, slope: float) -> None:
    """Learned against exact log-density [N], shifted to the same mean, with the line of equality."""
    learned = learned + np.mean(exact - learned)
    ax.plot(exact, learned, ".", ms=2, alpha=0.4)
    ends = [exact.min(), exact.max()]
    ax.plot(ends, ends, "k--", lw=1, label="equal")
    agreement = "constant: no agreement" if np.isnan(spearman) else f"Spearman {spearman:.3f}, slope {slope:.2f}"
    ax.set(
        xlabel="exact log-density, nats",
        ylabel="learned, shifted to the same mean, nats",
        title=f"{agreement} (N = {len(exact)})",
    )
    low, high = np.quantile(learned, [0.002, 0.998])
    ax.set_ylim(min(low, ends[0]) - 1, max(high, ends[1]) + 1)
    ax.legend(loc="upper left")


def spectrum(ax: Any, singular_values: np.ndarray) -> None:
    """Median and 5 to 95 % band of singular values [N, R] against their index."""
    sigma = np.maximum(singular_values, 1e-8)
    index = np.arange(1, sigma.shape[1] + 1)
    low, middle, high = np.quantile(sigma, [0.05, 0.5, 0.95], axis=0)
    ax.fill_between(index, low, high, alpha=0.3, label="5 to 95 % of the samples")
    ax.plot(index, middle, marker="." if len(index) < 40 else None, label="median")
    ax.set(yscale="log", xlabel="index", ylabel="singular value of the Jacobian", title="spectrum")
    ax.legend()


def extremes(figure: Any, xs: np.ndarray, learned: np.ndarray, columns: int = 10) -> None:
    """The most and the least likely images of xs [N, H, W, C], as the paper's first figure shows them."""
    order = np.argsort(-learned, kind="stable")
    axes = figure.subplots(4, columns)
    for ax, i in zip(axes.flat, [*order[: 2 * columns], *order[-2 * columns :]], strict=False):
        image = xs[i] if xs.shape[-1] == 3 else xs[i, :, :, 0]
        ax.imshow(image, cmap="gray_r", vmin=xs.min(), vmax=xs.max())
        ax.set_title(f"{learned[i]:.0f}", fontsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.suptitle("most likely (upper two rows), least likely (lower two rows); log-density in nats")
