"""Pruning of a training set by the score: accuracy of a classifier on what is kept, beside simpler ways to choose.

    python -m benchmarks.curation [--sets NAME ...] [--seeds 0-2] [--steps N]

Hardware: any CPU; four minutes on two cores. For each set and seed, rows are drawn for training and for the test, an
encoder is trained on the former without labels, and its density ranks them. Each way of pruning keeps a share of the
rows; logistic regression on pixels, fitted to those, is judged on the test rows, whose labels are right. The sets:

- `digits`: 1,200 digits, of which the other 597 are the test.
- `wrong labels`: the same, a fifth of the labels replaced by another one at random.
- `copies`: 400 digits, 200 of which occur five times, each copy with a little noise.
- `sprites`: 600 images of the world `sprites`; the label is a third of the sizes, the other factors are nuisance.

Results are written after every set and seed to OUT/DEVICE/curation.json and curation.md; the same command continues an
interrupted run.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from benchmarks.report import continued, exit_status, markdown_table, results_folder, write_results
from benchmarks.unseen import numbers
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.density import base_log_density, score_all
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.progress import progress
from jepa_jax.training import fit
from jepa_jax.worlds import WORLDS
from train.config_files import find_config

EPS = 1e-6
NEIGHBOURS = 10
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
RANDOM_DRAWS = 3  # whose mean is the accuracy of random pruning
TRAINED, WRONG, SINGLE, COPIED, COPIES, COPY_NOISE = 1200, 0.2, 200, 200, 5, 0.02
SPRITES, SPRITES_TEST = 600, 2000
CLASSES = 3  # thirds of the sizes of sprites


class Rows(NamedTuple):
    """Training and test rows of a set.

    Attributes:
      config: Name of the config that trains the encoder.
      x: Training images [N, H, W, C].
      label: Labels [N] with which the classifier is fitted, some of which may be wrong.
      test: Test images [M, H, W, C].
      right: Their labels [M].
    """

    config: str
    x: np.ndarray
    label: np.ndarray
    test: np.ndarray
    right: np.ndarray


def digits(seed: int) -> Rows:
    """Return digits in [0, 1], divided by the seed."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1), y[order]
    return Rows("digits", x[:TRAINED], y[:TRAINED], x[TRAINED:], y[TRAINED:])


def wrong_labels(seed: int) -> Rows:
    """Return digits of which a share has another label."""
    rows = digits(seed)
    draw = np.random.default_rng([seed, 1])
    wrong = draw.random(len(rows.label)) < WRONG
    return rows._replace(label=np.where(wrong, (rows.label + draw.integers(1, 10, len(rows.label))) % 10, rows.label))


def copies(seed: int) -> Rows:
    """Return few digits, some of which occur several times."""
    rows = digits(seed)
    which = np.concatenate([np.arange(SINGLE), np.repeat(np.arange(SINGLE, SINGLE + COPIED), COPIES)])
    noise = COPY_NOISE * np.random.default_rng([seed, 2]).standard_normal((len(which), *rows.x.shape[1:]))
    return rows._replace(x=(rows.x[which] + noise).astype(np.float32), label=rows.label[which])


def sprites(seed: int) -> Rows:
    """Return sprites with the third of their size as label."""
    x, states = WORLDS["sprites"]().sample(jax.random.key(seed), SPRITES + SPRITES_TEST)
    label = np.digitize(np.asarray(states)[:, 2], stats.norm.ppf(np.arange(1, CLASSES) / CLASSES))
    x = np.asarray(x)
    return Rows("sprites", x[:SPRITES], label[:SPRITES], x[SPRITES:], label[SPRITES:])


SETS: dict[str, Callable[[int], Rows]] = {
    "digits": digits,
    "wrong labels": wrong_labels,
    "copies": copies,
    "sprites": sprites,
}
SAME_IMAGES = {"wrong labels": "digits"}  # one encoder serves both


class Ranked(NamedTuple):
    """What an encoder says of the training rows, [N] each.

    Attributes:
      density: Learned log-density; the score, where the base distribution is constant or unknown.
      knn: Distance of the tenth neighbour among the embeddings.
      nearest: Distance of the nearest neighbour.
      disagreement: Share of the ten nearest that have another label.
      label: Labels.
    """

    density: np.ndarray
    knn: np.ndarray
    nearest: np.ndarray
    disagreement: np.ndarray
    label: np.ndarray


# What is kept first: rows with high values. Random pruning, with which all are compared, stands apart.
METHODS: dict[str, Callable[[Ranked], np.ndarray]] = {
    "score, lowest removed": lambda r: r.density,
    "score, highest removed": lambda r: -r.density,
    "score, both ends removed": lambda r: -np.abs(percentile(r.density) - 0.5),
    "score, lowest of each class removed": lambda r: within_class(r.density, r.label),
    "k-NN, farthest removed": lambda r: -r.knn,
    "k-NN, nearest removed": lambda r: r.knn,
    "nearest neighbour, nearest removed": lambda r: r.nearest,
    "k-NN labels, most disagreeing removed": lambda r: -r.disagreement,
}
RANDOM = "random"


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    sets: tuple[str, ...] = tuple(SETS)
    """Training sets to prune: digits, "wrong labels", copies, sprites."""
    seeds: str = "0-2"
    """Seeds of the division, the planted faults and the training: numbers and ranges, such as 0-4 or 3,7."""
    steps: int = 400
    """Training steps of each encoder."""
    out: str = "benchmarks/results"
    """Folder of the results. curation.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.curation", description=__doc__ or "")
        for name in a.sets:
            if name not in SETS:
                raise ConfigError(f"unknown set {name!r}{nearest(name, SETS)}")
        out = results_folder(a.out)
        about, cells = continued(out / "curation.json", {"steps": a.steps})
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        todo = [(name, seed) for seed in numbers(a.seeds) for name in a.sets if str(seed) not in cells.get(name, {})]
        with progress(console, len(todo), "sets") as bar:
            for name, seed in todo:
                bar.update(bar.task_ids[0], rate=f"{name} {seed}")
                started = time.perf_counter()
                found = pruned(name, seed, a.steps)
                cells.setdefault(name, {})[str(seed)] = found
                write_results(out, "curation", text(cells), {"about": about, "cells": cells})
                console.print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s")
                bar.advance(bar.task_ids[0])
        write_results(out, "curation", text(cells), {"about": about, "cells": cells})
        return out / "curation.md"

    return exit_status(measure)


def pruned(name: str, seed: int, steps: int) -> dict[str, list[float]]:
    """Return the accuracy [shares] of a classifier after every way of pruning.

    Args:
      name: Name of the set.
      seed: Seed of the set, of the training and of random pruning.
      steps: Training steps of the encoder.
    """
    rows = SETS[name](seed)
    density, z = ranked_without_labels(SAME_IMAGES.get(name, name), seed, steps)
    distances = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(z).kneighbors()[0]  # [N, k], without the row itself
    disagreement = evaluate.label_disagreement(z, rows.label)
    ranked = Ranked(density, distances[:, -1], distances[:, 0], disagreement, rows.label)
    orders = {method: np.argsort(-value(ranked), kind="stable") for method, value in METHODS.items()}
    whole = accuracy(rows, np.arange(len(rows.x)), 1.0)

    def curve(order: np.ndarray) -> list[float]:
        return [accuracy(rows, order, share) for share in SHARES[:-1]] + [whole]

    draws = [np.random.default_rng([seed, draw]).permutation(len(rows.x)) for draw in range(RANDOM_DRAWS)]
    found = {RANDOM: np.mean([curve(order) for order in draws], axis=0).tolist()}
    return found | {method: curve(order) for method, order in orders.items()}


@lru_cache(maxsize=1)
def ranked_without_labels(name: str, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Train an encoder on the rows of a set without their labels, and return their log-density [N] and embeddings."""
    rows = SETS[name](seed)
    config = find_config(rows.config)[1]
    config = replace(config, steps=steps, seed=seed)
    if config.data.source in WORLDS:
        encoder = fit(config)
    else:
        encoder = fit(replace(config, data=replace(config.data, holdout=0.0)), rows.x)
    score, z, *_ = score_all(encoder, jnp.asarray(rows.x), EPS)
    base = base_log_density(jnp.asarray(z), encoder.base)
    return score + (0 if base is None else np.asarray(base)), np.asarray(z)


def percentile(values: np.ndarray) -> np.ndarray:
    """Return the share [N] of the values that are below each."""
    return (stats.rankdata(values) - 0.5) / len(values)


def within_class(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the percentile [N] of values within their class, so that pruning leaves the classes as they are."""
    found = np.zeros(len(values))
    for name in np.unique(label):
        found[label == name] = percentile(values[label == name])
    return found


def accuracy(rows: Rows, order: np.ndarray, share: float) -> float:
    """Return the accuracy on the test rows of a classifier fitted to the first share of the rows in an order."""
    kept = order[: max(round(share * len(order)), 1)]
    fit, query = (images.reshape(len(images), -1) for images in (rows.x[kept], rows.test))
    return evaluate.linear_probe(fit, rows.label[kept], query, rows.right)


def text(cells: dict[str, Any]) -> str:
    """Return the table of each set, and below it where pruning by the score is worse than random pruning."""
    blocks = [
        "# Pruning a training set\n\nAccuracy on test rows of logistic regression on pixels, fitted to the share of "
        f"the rows that is kept: mean ± standard deviation over seeds. `{RANDOM}` is the mean of {RANDOM_DRAWS} draws."
    ]
    for name, seeds in cells.items():
        lines = []
        for method in (RANDOM, *METHODS):
            values = np.array([found[method] for found in seeds.values()])
            means = [f"{mean:.3f}" for mean in values.mean(axis=0)]
            if len(values) > 1:
                means = [f"{m} ± {s:.3f}" for m, s in zip(means, values.std(axis=0, ddof=1), strict=True)]
            lines.append([method, *means])
        header = ["kept", *(f"{100 * share:.0f} %" for share in SHARES)]
        blocks += [f"## {name}\n\nSeeds {', '.join(seeds)}.", markdown_table(header, lines), beside_random(seeds)]
    return "\n\n".join(blocks)


def beside_random(seeds: dict[str, dict[str, list[float]]]) -> str:
    """Return sentences that say where each way of pruning is worse or better than random pruning on every seed."""
    lines = []
    for method in METHODS:
        gain = np.array([np.subtract(found[method], found[RANDOM]) for found in seeds.values()])
        worse, better = np.all(gain < 0, axis=0).tolist(), np.all(gain > 0, axis=0).tolist()
        parts = [
            f"{word} than random at {', '.join(f'{100 * s:.0f} %' for s, f in zip(SHARES, flags, strict=True) if f)}"
            for word, flags in (("worse", worse), ("better", better))
            if any(flags)
        ]
        lines.append(f"- {method}: {'; '.join(parts) or 'now better, now worse than random'}")
    chance = f"{100 * 2.0 ** (1 - len(seeds)):.0f} %"
    return f"On every seed, which by chance alone happens in {chance} of the cells:\n\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
