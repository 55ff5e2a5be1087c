"""Predicted scores (`score --pilot`) against the exact ones, on image encoders.

    python -m benchmarks.amortised [--pilot 1000] [--networks NAME ...]

Hardware: any CPU; about two minutes on two cores. All samples of each network are scored exactly; the scores of some
predict those of the others, from the embedding alone and with a sketch of p products a sample. `error` is the root mean
square that leaving out one sample at a time states, and `true error` that of the predictions of the others; a band is
for 90 % of them. Products are counted for 100,000 samples. The exit status is 1 if a stated error is more than 15 %
off. Results go to OUT/DEVICE/amortised.json and amortised.md after every network; the same command continues.
"""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_sample_images

from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from benchmarks.score_speed.weights import random_vit
from configs.digits import get_config
from jepa_jax import config as cfg
from jepa_jax.cli import parse
from jepa_jax.data import read_samples
from jepa_jax.data.in_memory import from_samples
from jepa_jax.density import random_directions, rank_agreement, score_all
from jepa_jax.encoder import Encoder
from jepa_jax.evaluate import kernel_ridge
from jepa_jax.models.vit import ViT, vit_encoder
from jepa_jax.progress import progress
from jepa_jax.resolve import resolve
from jepa_jax.training import make_trainer
from score.pilot import log_values, projected

MANY = 100_000  # samples for which products are counted
TOLERANCE = 0.15  # relative error of a stated error
DIRECTIONS = (0, 4, 8)  # p
DINO: dict[str, Any] = {"image_size": 42, "patch_size": 14, "width": 64, "depth": 12, "heads": 2}
CROPS = (42, 400)  # sides of the smallest and the largest crop of a photograph in pixels


class Network(NamedTuple):
    """An encoder, and samples [N, ...] of the data that it is for."""

    encoder: Encoder
    xs: np.ndarray


def digits(a: "Arguments") -> Network:
    """Train a ViT on half of the digits; all of them are scored."""
    samples = read_samples("digits", None)
    encoder = cfg.ViT(patch_size=2, width=32, depth=2, heads=2, dim=32)
    config = dataclasses.replace(get_config(), steps=a.steps, encoder=encoder)
    source = from_samples(samples, config.data)
    config = resolve(config, source)
    trainer = make_trainer(config, source)
    state, _ = trainer.run(trainer.init(), source.arrays, 0, a.steps)
    xs = np.asarray(samples.x)
    return Network(trainer.encoder(state), xs[np.random.default_rng(0).permutation(len(xs))[: a.samples]])


def photographs(a: "Arguments") -> Network:
    """Make a random ViT of DINOv2's shape, with a spread spectrum; its samples are crops of two photographs."""
    rng = np.random.default_rng(0)
    encoder = vit_encoder(ViT(**DINO), jax.tree.map(jnp.asarray, random_vit(rng, **DINO)))
    pictures, side = load_sample_images().images, DINO["image_size"]
    xs = np.empty((a.samples, side, side, 3), np.float32)
    for i in range(len(xs)):
        picture = pictures[i % len(pictures)]
        size = int(np.exp(rng.uniform(*np.log(CROPS))))
        row, column = (rng.integers(n - size + 1) for n in picture.shape[:2])
        crop = Image.fromarray(picture[row : row + size, column : column + size])
        xs[i] = np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC)) / 255
    return Network(encoder, (xs - 0.45) / 0.225)


NETWORKS: dict[str, tuple[str, Callable[["Arguments"], Network]]] = {
    "digits": ("ViT trained on the digits, K = 32", digits),
    "photographs": ("random ViT of DINOv2's shape on crops of photographs, K = 64", photographs),
}


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    """Networks, of `digits` and `photographs`."""
    pilot: int = 1000
    """Number of exact scores from which the others are predicted."""
    samples: int = 1400
    """Number of samples that are scored exactly, to judge the predictions."""
    steps: int = 600
    """Training steps on the digits."""
    out: str = "benchmarks/results"
    """Folder of the results. amortised.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if a stated error is wrong; 2 for wrong arguments."""
    wrong: list[str] = []

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.amortised", description=__doc__ or "")
        out = results_folder(a.out)
        options = {"pilot": a.pilot, "samples": a.samples, "steps": a.steps}
        about, cells = continued(out / "amortised.json", options)
        todo = [name for name in a.networks if name not in cells]
        with progress(Console(stderr=True), len(todo), "networks") as bar:
            for name in todo:
                cells[name] = rows(NETWORKS[name][1](a), a)
                write_results(out, "amortised", text(cells), {"about": about, "cells": cells})
                bar.advance(bar.task_ids[0])
        wrong.extend(f"{name}, p = {row['directions']}" for name, found in cells.items() for row in found if off(row))
        write_results(out, "amortised", text(cells), {"about": about, "cells": cells})
        return out / "amortised.md"

    status = exit_status(measure)
    for name in wrong:
        print(f"the stated error is more than {TOLERANCE:.0%} off: {name}", file=sys.stderr)
    return status or int(bool(wrong))


def off(row: dict[str, Any]) -> bool:
    """Return whether the stated error is too far from the true one."""
    return abs(row["true_error"] / row["error"] - 1) > TOLERANCE


def rows(network: Network, a: Arguments) -> list[dict[str, Any]]:
    """Score all samples exactly, and return for each p how well the first ones predict the others."""
    encoder, xs = network
    score, z, _, _ = score_all(encoder, xs)
    found = []
    for p in DIRECTIONS:
        features = z
        if p:
            sketch = projected(encoder, random_directions(jax.random.key(0), p, encoder.dim))
            features = np.concatenate([z, log_values(score_all(sketch, xs)[2])], axis=1)
        fit = kernel_ridge(features[: a.pilot], score[: a.pilot])
        new, rest = fit.predict(features[a.pilot :]), score[a.pilot :].astype(np.float64)
        spearman, interval = rank_agreement(new.value, rest, np.random.default_rng(0))
        products = min(encoder.dim, xs[0].size)
        found.append(
            {
                "directions": p,
                "products_saved": MANY * products / (a.pilot * products + MANY * p),
                "score_deviation": float(score.std()),
                "spearman": spearman,
                "spearman_interval": interval,
                "stated_spearman": rank_agreement(fit.left_out, fit.numbers, np.random.default_rng(0))[0],
                "error": fit.error,
                "true_error": float(np.sqrt(np.mean((new.value - rest) ** 2))),
                "coverage": float(np.mean((new.low <= rest) & (rest <= new.high))),
                "judged": len(rest),
            }
        )
    return found


def text(cells: dict[str, Any]) -> str:
    """Return the tables of all networks."""
    return "\n\n".join(
        ["# Predicted scores", *(f"## {NETWORKS[name][0]}\n\n{table(found)}" for name, found in cells.items())]
    )


def table(found: list[dict[str, Any]]) -> str:
    """Return the table of a network."""
    header = ["p", "products saved", "Spearman (95 % interval)", "stated Spearman", "error, nats"]
    header += ["true error", "true / stated", "in the band", "judged on", "scores' deviation"]
    return markdown_table(
        header,
        [
            [
                str(row["directions"]),
                f"{row['products_saved']:.3g}",
                "{:.3f} ({:.3f} to {:.3f})".format(row["spearman"], *row["spearman_interval"]),
                f"{row['stated_spearman']:.3f}",
                f"{row['error']:.3g}",
                f"{row['true_error']:.3g}",
                f"{row['true_error'] / row['error']:.2f}",
                f"{row['coverage']:.1%}",
                str(row["judged"]),
                f"{row['score_deviation']:.3g}",
            ]
            for row in found
        ],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
