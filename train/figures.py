"""Pictures of a run: the learned density beside the true one, and how it got there."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")  # no window, also where there is no screen
from matplotlib.figure import Figure
from PIL import Image

from jepa_jax.data import Source
from jepa_jax.density import log_law
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically
from train.monitor import Look, score_all

GRID = 96  # points along each side of a 2-D picture
FLOOR = 9.0  # nats below the peak at which a density map goes dark


def draw(path: Path, look: Look, encoder: Encoder, source: Source, step: int, rows: list[dict[str, Any]]) -> None:
    """Write the picture of one look: density maps for a 2-D world, otherwise scatter, spectrum and curves."""
    world = source.world
    figure = Figure(figsize=(13, 4.3), dpi=85, layout="constrained")
    axes = figure.subplots(1, 3)
    if world is not None and world.extent is not None:
        _maps(axes[:2], look, encoder, source)
        _scatter(axes[2], look)
    else:
        if look.probe.log_density is not None:
            _scatter(axes[0], look)
        else:
            axes[0].hist(look.score, bins=50, color="C0")
            axes[0].set(title="JEPA-SCORE of the probe set", xlabel="nats", ylabel="samples")
        _spectrum(axes[1], look)
        _curves(axes[2], rows)
    figure.suptitle(f"step {step}: {look.health.sentence}", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary))


def extremes(path: Path, look: Look, columns: int = 10) -> None:
    """Write the most and the least likely images of the probe set, as the paper's first figure shows them."""
    order = np.argsort(-look.learned, kind="stable")
    xs = np.asarray(look.probe.x)
    figure = Figure(figsize=(columns, 4.8), dpi=85, layout="constrained")
    axes = figure.subplots(4, columns)
    for ax, i in zip(axes.flat, [*order[: 2 * columns], *order[-2 * columns :]], strict=False):
        image = xs[i] if xs.shape[-1] == 3 else xs[i, :, :, 0]
        ax.imshow(image, cmap="gray_r", vmin=xs.min(), vmax=xs.max())
        ax.set_title(f"{look.learned[i]:.0f}", fontsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.suptitle("most likely (upper two rows), least likely (lower two rows); nats")
    write_atomically(path, lambda temporary: figure.savefig(temporary))


def animate(path: Path, frames: list[Path]) -> None:
    """Write the pictures of the monitor steps as one GIF that loops."""
    images = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [400] * (len(images) - 1) + [2500]
    write_atomically(
        path,
        lambda temporary: images[0].save(
            temporary, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True
        ),
    )


def _maps(axes: Any, look: Look, encoder: Encoder, source: Source) -> None:
    world = source.world
    assert world is not None
    assert world.extent is not None
    low, high = world.extent
    side = jnp.linspace(low, high, GRID)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    true = np.asarray(jax.lax.map(world.log_density, grid, batch_size=1024))
    score, z, _, _ = score_all(encoder, grid, 1e-6)
    law = log_law(z, encoder.law)
    learned = score if law is None else score + np.asarray(law)
    # The learned density is known up to a constant: match the means where the samples are.
    exact = np.asarray(look.probe.log_density)
    learned = learned + np.mean(exact - look.learned)
    peak = np.quantile(exact, 0.999)
    for ax, values, title in (
        (axes[0], true, "true log-density"),
        (axes[1], learned, "learned log-density (up to a constant)"),
    ):
        image = ax.imshow(
            values.reshape(GRID, GRID),
            origin="lower",
            extent=(low, high, low, high),
            vmin=peak - FLOOR,
            vmax=peak,
            cmap="magma",
        )
        ax.set(title=title, xticks=[], yticks=[])
    axes[0].figure.colorbar(image, ax=list(axes), label="nats", shrink=0.85)


def _scatter(ax: Any, look: Look) -> None:
    exact = np.asarray(look.probe.log_density)
    learned = look.learned + np.mean(exact - look.learned)
    ax.plot(exact, learned, ".", ms=2, alpha=0.4)
    ends = [exact.min(), exact.max()]
    ax.plot(ends, ends, "k--", lw=1, label="equal")
    corrected = look.log_density is not None and "density/log_density_spearman" in look.metrics
    name = "density/log_density_spearman" if corrected else "density/spearman"
    spearman = look.metrics[name]
    ax.set(
        xlabel="exact log-density, nats",
        ylabel="learned, shifted to the same mean, nats",
        title=f"Spearman {spearman:.3f} on {len(exact)} fresh samples",
    )
    low, high = np.quantile(learned, [0.002, 0.998])
    ax.set_ylim(min(low, ends[0]) - 1, max(high, ends[1]) + 1)
    ax.legend(loc="upper left")


def _spectrum(ax: Any, look: Look) -> None:
    sigma = np.maximum(look.singular_values, 1e-8)
    index = np.arange(1, sigma.shape[1] + 1)
    low, middle, high = np.quantile(sigma, [0.05, 0.5, 0.95], axis=0)
    ax.fill_between(index, low, high, alpha=0.3, label="5 to 95 % of the samples")
    ax.plot(index, middle, label="median")
    ax.set(yscale="log", xlabel="index", ylabel="singular value of the Jacobian", title="spectrum")
    ax.legend()


def _curves(ax: Any, rows: list[dict[str, Any]]) -> None:
    shown = False
    for name in ("spearman", "log_density_spearman", "tangent_log_density_spearman"):
        points = [(r["step"], r[f"density/{name}"]) for r in rows if r.get(f"density/{name}") is not None]
        if points:
            ax.plot(*zip(*points, strict=True), "o-", ms=3, label=name.replace("_", " "))
            shown = True
    if shown:
        ax.set(xlabel="step", title="agreement with the exact log-density", ylim=(None, 1))
    else:
        ax.plot([r["step"] for r in rows], [r["loss"] for r in rows], label="loss")
        ax.set(xlabel="step", title="loss")
    ax.legend()
