"""A picture of each row: what a sample is and what a mask hides of it, beside the figures of the table."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.family.judges import dynamics, trajectories
from benchmarks.family.rows import ROWS, Row
from jepa_jax.config import Masked, ViT
from jepa_jax.data import Samples, open_source
from jepa_jax.data.registry import open_dataset
from jepa_jax.files import write_atomically
from jepa_jax.masking import law_of
from jepa_jax.plots import Figure
from jepa_jax.recipes import build_networks
from jepa_jax.resolve import resolve
from jepa_jax.worlds import WORLDS
from train.config_files import find_config

NOT_DRAWN = ("seconds", "travelled", "effective rank", "off the equation")  # of another unit than the others
BASELINES = ("raw", "PCA", "second order", "second order, lag 1")
MASK_SEED = 3
HALFWAY = 0.5  # progress of a curriculum whose mask is drawn

Found = dict[str, dict[str, dict[str, float]]]


def draw(folder: Path, name: str, found: Found) -> Path:
    """Write the picture of a row.

    Args:
      folder: Folder of the picture.
      name: Name of the row.
      found: Figures by cell, seed and name, as in family.json.

    Returns:
      Path of the picture.

    Raises:
      ConfigError: If a package is missing that holds the data.
    """
    row = ROWS[name]
    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    (_trajectories if row.judge is dynamics else _sample)(left, row)
    _bars(right, {cell: seeds for cell, seeds in found.items() if cell.startswith(f"{name}: ")})
    figure.suptitle(f"{row.system}: {row.config}. Bar: {row.bar}")
    path = folder / f"{row.config}.png"
    write_atomically(path, lambda p: figure.savefig(p, format="png"))
    return path


def _trajectories(ax: Any, row: Row) -> None:
    """Show the singular values of a deep linear network while it trains, and those of its equation."""
    time, found, exact = trajectories(find_config(row.config)[1])
    for number, (values, equation) in enumerate(zip(found.T, exact.T, strict=True)):
        ax.plot(time, values, color=f"C{number}", lw=3, alpha=0.4)
        ax.plot(time, equation, "--", color=f"C{number}", lw=1)
    ax.set(xlabel="steps times learning rate", ylabel="singular value", title="trained, and dashed the equation")


def _sample(ax: Any, row: Row) -> None:
    """Show a sample as an image of its rows and columns, with one mask over it, or with its partner below it."""
    config = find_config(row.config)[1]
    source = open_source(config.data, 0)
    config = resolve(config, source)
    x = np.asarray(source.probe(1).x[0])
    if isinstance(config.recipe, Masked):
        grid = build_networks(config, source.shape)["encoder"].grid
        assert grid is not None
        assert isinstance(config.encoder, ViT)
        masks = law_of(config.recipe.mask).draw(jax.random.key(MASK_SEED), grid, jnp.float32(HALFWAY))
        what = np.full(grid[0] * grid[1], 0.5)  # neither seen nor asked for
        what[np.asarray(masks.context)[np.asarray(masks.context_valid)]] = 0
        what[np.asarray(masks.targets)[np.asarray(masks.targets_valid)]] = 1
        shown = _flat(x / np.maximum(np.asarray(source.scale), 1e-12) if x.ndim == 1 else x)
        ax.imshow(shown, cmap="Greys_r", aspect="auto", extent=(0, 1, 1, 0))
        over = np.ma.masked_equal(what.reshape(grid), 0)
        ax.imshow(over, cmap="autumn_r", vmin=0, vmax=1, alpha=0.55, aspect="auto", extent=(0, 1, 1, 0))
        ax.set_title(f"a sample of {config.data.source}\nred is asked for, yellow hidden")
    else:
        first, second = map(_flat, _pair(config.data.source))
        ax.imshow(np.concatenate([first, np.full((1, first.shape[1]), np.nan), second]), aspect="auto")
        ax.set_title("above a sample, below what is predicted")
    ax.set(xticks=[], yticks=[])


def _pair(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample and its partner."""
    if name in WORLDS:
        world, key = WORLDS[name](), jax.random.key(MASK_SEED)
        first, second = world.views(key, world.draw(key))
        return np.asarray(first), np.asarray(second)
    samples = open_dataset(name)
    assert isinstance(samples, Samples)
    assert samples.pair is not None
    return np.asarray(samples.x[0]), np.asarray(samples.pair[0])


def _flat(x: np.ndarray) -> np.ndarray:
    """Return a sample as one image [H, W], its channels side by side."""
    if x.ndim == 1:
        return x[:, None]
    return np.concatenate(np.moveaxis(x, -1, 0), axis=1)


def _bars(ax: Any, cells: Found) -> None:
    """Draw the median of each figure as a bar, with the range over seeds."""
    names: list[str] = []
    values: list[np.ndarray] = []
    for cell, seeds in cells.items():
        variant = cell.split(": ")[1]
        for key in dict.fromkeys(key for one in seeds.values() for key in one if key not in NOT_DRAWN):
            several = np.array([one[key] for one in seeds.values() if key in one], float)
            baseline = key in BASELINES or "untrained" in key
            label = key if baseline or len(cells) == 1 else f"{key} ({variant})"
            if "untrained" in key and label in names and not np.array_equal(several, values[names.index(label)]):
                label = f"{key} ({variant})"  # whose network is another
            if np.isfinite(several).all() and label not in names:
                names.append(label)
                values.append(several)
    middle = np.array([np.median(one) for one in values])
    spread = np.array([(m - one.min(), one.max() - m) for m, one in zip(middle, values, strict=True)]).T
    colours = ["0.6" if name in BASELINES or "untrained" in name else "C1" for name in names]
    bars = ax.barh(names, middle, xerr=spread, color=colours)
    ax.bar_label(bars, fmt="%.3f", padding=3)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_title("median over seeds, and range")
