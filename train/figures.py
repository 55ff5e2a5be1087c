"""Figures of a run: the learned density beside the true one, and the course of the training."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jepa_jax import plots
from jepa_jax.data import Source
from jepa_jax.density import base_log_density, score_all
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically
from jepa_jax.images import MARK, MARK_BYTES

from .monitor import Look

GRID_POINTS = 128  # points along each side of a 2-D density map
COLOUR_RANGE_NATS = 9.0  # below the peak; a density map is dark at and beyond its end


def draw(path: Path, look: Look, encoder: Encoder, source: Source, step: int, rows: list[dict[str, Any]]) -> None:
    """Write the figure of one evaluation: density maps for a 2-D world, otherwise scatter plot, spectrum and curves.

    Args:
      path: File to write.
      look: Evaluation.
      encoder: Encoder at this step.
      source: Data of the run.
      step: Step of the evaluation.
      rows: All rows of metrics up to this step.
    """
    world = source.world
    figure = plots.Figure(figsize=(13, 4.3), dpi=120, layout="constrained")
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
        # Without those that are null by construction, which are rounding noise.
        plots.spectrum(axes[1], look.singular_values[:, : encoder.dim - encoder.null_directions])
        _curves(axes[2], rows)
    figure.suptitle(f"step {step}: {look.health.finding}", fontsize=10)
    write_atomically(path, lambda temporary: figure.savefig(temporary, metadata=MARK))


def picture(out: Path, step: int) -> Path:
    """Return the path of the figure of an evaluation."""
    return out / "figures" / f"density_{step:07d}.png"


def finish(out: Path, look: Look, source: Source, step: int) -> Path:
    """Write the final figures of a run, after the figure of the last evaluation was drawn.

    Args:
      out: Folder of the run.
      look: Last evaluation.
      source: Data of the run.
      step: Last step.

    Returns:
      The path of the figure to show to the user.
    """
    figure = out / "figures" / "density.png"
    write_atomically(figure, lambda path: shutil.copyfile(picture(out, step), path))
    if len(source.shape) == 3:
        extremes(out / "figures" / "extremes.png", look)
    frames = sorted((out / "figures").glob("density_*.png"))
    if source.world is not None and source.world.extent is not None and len(frames) > 1:
        animate(out / "figures" / "density.gif", frames)
    return figure


def extremes(path: Path, look: Look) -> None:
    """Draw the most and the least likely images of the probe set."""
    figure = plots.Figure(figsize=(10, 4.8), dpi=85, layout="constrained")
    plots.extremes(figure, np.asarray(look.probe.x), look.score)
    write_atomically(path, lambda temporary: figure.savefig(temporary, metadata=MARK))


def animate(path: Path, frames: list[Path]) -> None:
    """Write the figures of all evaluations as one GIF that loops."""
    images = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [400] * (len(images) - 1) + [2500]
    write_atomically(
        path,
        lambda temporary: images[0].save(
            temporary,
            save_all=True,
            append_images=images[1:],
            duration=durations,
            loop=0,
            optimize=True,
            comment=MARK_BYTES,
        ),
    )


def _maps(axes: Any, look: Look, encoder: Encoder, source: Source) -> None:
    world = source.world
    assert world is not None
    assert world.extent is not None
    low, high = world.extent
    side = jnp.linspace(low, high, GRID_POINTS)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    true = np.asarray(jax.lax.map(world.log_density, grid, batch_size=1024))
    score, z, *_ = score_all(encoder, grid)
    base = base_log_density(jnp.asarray(z), encoder.base)
    learned = score if base is None else score + np.asarray(base)
    exact = np.asarray(look.probe.log_density)
    if not encoder.normalised:  # known up to a constant: match the means over the samples
        learned = learned + np.mean(exact - look.learned)
    peak = np.quantile(exact, 0.999)
    for ax, values, title in (
        (axes[0], true, "true log-density"),
        (axes[1], learned, "learned log-density" + ("" if encoder.normalised else " (up to a constant)")),
    ):
        image = ax.imshow(
            values.reshape(GRID_POINTS, GRID_POINTS),
            origin="lower",
            extent=(low, high, low, high),
            vmin=peak - COLOUR_RANGE_NATS,
            vmax=peak,
            cmap="magma",
        )
        ax.set(title=title, xticks=[], yticks=[])
    axes[0].figure.colorbar(image, ax=list(axes), label="nats", shrink=0.85)


def _scatter(ax: Any, look: Look) -> None:
    name = "" if look.log_density is None else "log_density_"
    spearman, slope = (float(look.metrics.get(f"density/{name}{what}", np.nan)) for what in ("spearman", "slope"))
    plots.scatter(ax, look.learned, np.asarray(look.probe.log_density), spearman, slope)


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
