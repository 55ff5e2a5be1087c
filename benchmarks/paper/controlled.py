"""Controlled experiments: sprites, whose factors are known, and digits that are corrupted more and more.

    python -m benchmarks.paper controlled [--parts sprites digits] [--steps N] [--pictures DIR]

Hardware: any CPU; four minutes on two cores. `sprites` trains the config of that name and compares, on fresh images,
the score and the corrected log-density with the exact one and with what one sees: how far the blob is from the centre,
its size and its brightness. `digits` trains the config `digits` and scores the held-out digits as they are and
corrupted: the mean score against the strength, and the probability that a clean digit ranks above a corrupted one.
Results go to OUT/DEVICE/paper_controlled.json and .md, each part as it is done; the same command continues an
interrupted run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from scipy import ndimage

from benchmarks.intervals import auroc_interval
from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate, plots
from jepa_jax.cli import parse
from jepa_jax.data import is_held_out, read_samples
from jepa_jax.density import base_log_density, score_all, score_samples
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.images import MARK
from jepa_jax.training import fit
from jepa_jax.worlds import WORLDS
from score.compare import rank_correlation
from train.config_files import find_config

EPS = 1e-6
FRESH_KEY = 2  # key of the images that are judged
DRAWN = 64  # images of the scatter plot; results keep no longer lists


@dataclass(frozen=True)
class Arguments:
    """Options of the experiment."""

    parts: tuple[str, ...] = ("sprites", "digits")
    """Parts to run."""
    steps: int | None = None
    """Training steps of each. None: those of the configs."""
    samples: int = 2000
    """Number of sprites that are judged."""
    pictures: str = ""
    """Folder in which to draw paper_controlled.png from the results."""
    out: str = "benchmarks/results"
    """Folder of the results. paper_controlled.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the experiment and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.paper controlled", description=__doc__ or "")
        for name in a.parts:
            if name not in PARTS:
                raise ConfigError(f"unknown part {name!r}{nearest(name, PARTS)}")
        out, console = results_folder(a.out), Console(stderr=True, highlight=False, soft_wrap=True)
        options = {"steps": a.steps or "as configured", "samples": a.samples}
        about, cells = continued(out / "paper_controlled.json", options)
        for name in a.parts:
            if name not in cells:
                console.print(f"{name}: training, then scoring")
                cells[name] = PARTS[name](a)
                write_results(out, "paper_controlled", text(cells), {"about": about, "cells": cells})
        if a.pictures:
            make_directory(Path(a.pictures))
            console.print(f"picture: {draw(Path(a.pictures), cells)}")
        return out / "paper_controlled.md"

    return exit_status(measure)


def trained(name: str, steps: int | None) -> Encoder:
    """Return the encoder of a config after its steps, or after this number of them."""
    config = find_config(name)[1]
    return fit(replace(config, steps=steps or config.steps))


def sprites(a: Arguments) -> dict[str, Any]:
    """Compare the learned densities of fresh sprites with the exact one and with the factors of the images.

    Returns:
      `agreement`: what is compared -> density -> rank correlation and the ends of its interval; `scatter`: exact and
      learned log-density of some images.
    """
    encoder, world = trained("sprites", a.steps), WORLDS["sprites"]()
    xs, states = world.sample(jax.random.key(FRESH_KEY), a.samples)
    exact = np.asarray(jax.lax.map(world.log_density, states), np.float64)
    score, z, *_ = score_all(encoder, xs, EPS)
    densities = {"exact": exact, "JEPA-SCORE": score}
    base = base_log_density(jnp.asarray(z), encoder.base)
    if base is not None:
        densities["log_density"] = score + np.asarray(base)
    u = np.asarray(states)
    seen = {
        "exact log-density": exact,
        "distance from the centre": np.hypot(u[:, 0], u[:, 1]),
        "size": u[:, 2],
        "brightness": u[:, 3],
        "compressed size": evaluate.compressed_size(np.asarray(xs)),
    }
    learned = densities.get("log_density", score)
    return {
        "agreement": {
            what: {name: rank_correlation(density, values) for name, density in densities.items()}
            for what, values in seen.items()
        },
        "scatter": [[round(float(v), 3) for v in values[:DRAWN]] for values in (exact, learned)],
    }


def redrawn(xs: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Return images of which a share of the pixels is drawn anew from those of all images."""
    return np.where(draw.random(xs.shape) < share, draw.choice(xs.reshape(-1), xs.shape), xs)


# Corruption -> (its strengths, function (images [N, H, W, C], strength, generator) -> images)
CORRUPTIONS: dict[str, tuple[tuple[float, ...], Callable[[np.ndarray, float, np.random.Generator], np.ndarray]]] = {
    "noise, standard deviation": (
        (0.05, 0.1, 0.2, 0.4),
        lambda xs, s, draw: xs + s * draw.standard_normal(xs.shape),
    ),
    "pixels drawn anew, share": ((0.1, 0.25, 0.5, 1.0), redrawn),
    "rotation, degrees": (
        (15, 30, 60, 90),
        lambda xs, s, draw: ndimage.rotate(xs, s, axes=(2, 1), reshape=False, order=1),
    ),
    "blur, pixels": ((0.4, 0.7, 1.0, 1.5), lambda xs, s, draw: ndimage.gaussian_filter(xs, (0, s, s, 0))),
    "inverted, share": ((0.25, 0.5, 0.75, 1.0), lambda xs, s, draw: (1 - s) * xs + s * (1 - xs)),
}


def digits(a: Arguments) -> dict[str, Any]:
    """Score held-out digits as they are and after every corruption.

    Returns:
      `clean`: mean score; `count`; `corrupted`: corruption -> strength -> `change` of the mean score, its `error`,
      `auroc` of clean digits above corrupted ones with `low` and `high`, and the share `fell` whose own score is lower.
    """
    encoder, config = trained("digits", a.steps), find_config("digits")[1]
    samples = read_samples("digits", None)
    xs = np.asarray(samples.x)[is_held_out(len(samples), config.data.holdout)]
    clean, found = np.asarray(score_samples(encoder, xs)), {}
    for name, (strengths, corrupt) in CORRUPTIONS.items():
        for strength in strengths:
            changed = corrupt(xs, strength, np.random.default_rng(0)).astype(np.float32)
            score = np.asarray(score_samples(encoder, changed))
            change, area = score - clean, evaluate.auroc(clean, score)
            low, high = auroc_interval(area, len(clean), len(score))
            found.setdefault(name, {})[str(strength)] = {
                "change": float(change.mean()),
                "error": float(change.std(ddof=1) / np.sqrt(len(change))),
                "auroc": area,
                "low": low,
                "high": high,
                "fell": float((change < 0).mean()),
            }
    return {"clean": float(clean.mean()), "count": len(clean), "corrupted": found}


PARTS: dict[str, Callable[[Arguments], dict[str, Any]]] = {"sprites": sprites, "digits": digits}


def text(cells: dict[str, Any]) -> str:
    """Return the tables of the parts that have been run."""
    blocks = ["# Controlled experiments"]
    if found := cells.get("sprites"):
        names = list(next(iter(found["agreement"].values())))
        rows = [
            [what, *("{:.3f} ({:.3f} to {:.3f})".format(*of[name]) for name in names)]
            for what, of in found["agreement"].items()
        ]
        blocks += [
            "## Sprites\n\nSpearman correlation with 95 % interval: how each density goes with the exact one and with "
            "what one sees. A learned density that is right has the column of the exact one.",
            markdown_table(["", *names], rows),
        ]
    if found := cells.get("digits"):
        rows = [
            [
                name if place == 0 else "",
                strength,
                f"{f['change']:+.1f} ± {f['error']:.1f}",
                f"{f['auroc']:.3f} ({f['low']:.3f} to {f['high']:.3f})",
                f"{100 * f['fell']:.0f} %",
            ]
            for name, of in found["corrupted"].items()
            for place, (strength, f) in enumerate(of.items())
        ]
        header = ["corruption", "strength", "change of the mean score, nats", "AUROC, clean above", "score fell"]
        blocks += [
            f"## Digits\n\n{found['count']} held-out digits; mean score {found['clean']:.1f} nats as they are. Change "
            "with its standard error; AUROC with 95 % interval.",
            markdown_table(header, rows),
        ]
    return "\n\n".join(blocks)


def draw(folder: Path, cells: dict[str, Any]) -> Path:
    """Write the picture of the parts that have been run, and return its path."""
    figure = plots.Figure(figsize=(11, 4), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(cells), squeeze=False)[0]
    for ax, (name, found) in zip(axes, cells.items(), strict=True):
        if name == "sprites":
            exact, learned = np.array(found["scatter"])
            agreement = evaluate.agreement(learned, exact)
            plots.scatter(ax, learned, exact, agreement.spearman, agreement.slope)
            ax.set_title(f"sprites: {ax.get_title()}")
        else:
            for corruption, of in found["corrupted"].items():
                strengths = np.array([0, *map(float, of)])
                change = [0, *(f["change"] for f in of.values())]
                error = [0, *(f["error"] for f in of.values())]
                label = f"{corruption} (to {strengths[-1]:g})"
                ax.errorbar(strengths / strengths[-1], change, error, marker="o", ms=4, lw=1.5, label=label)
            ax.axhline(0, color="0.6", lw=1, zorder=0)
            ax.set(xlabel="strength, over the largest", ylabel="change of the mean JEPA-SCORE, nats", title="digits")
            ax.legend(fontsize=8)
    path = folder / "paper_controlled.png"
    write_atomically(path, lambda p: figure.savefig(p, metadata=MARK))
    return path
