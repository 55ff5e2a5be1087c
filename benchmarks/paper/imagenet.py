"""The paper's figure 1: the least and the most likely images of a class, by several encoders.

    python -m benchmarks.paper imagenet MODEL [MODEL ...] --images DIR [--classes NAME ...] [--sample N] [--work DIR]

Hardware: any; a ViT-S/14 at 98 px takes four seconds an image on two cores, larger ones far more: take a GPU, or
`--sample`. DIR has a folder of images for each class, such as the training images of ImageNet. Each MODEL is what the
score program takes. All encoders see the same images, each through its own preprocessing. WORK receives a picture
CLASS.png for each class and the scores, so that the same command continues an interrupted run.
OUT/DEVICE/paper_imagenet.json and .md have the rank correlation of every two encoders within each class, also with the
compressed size, which no density should be.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from benchmarks.report import environment, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate, plots
from jepa_jax.cli import parse
from jepa_jax.data import LazyImages
from jepa_jax.density import score_batches
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.images import MARK
from jepa_jax.loading import fingerprint
from jepa_jax.progress import Pulse
from score.compare import LEAST_SAMPLES, rank_correlation
from score.inputs import open_encoder, open_samples, say_origin
from score.options import Arguments as ScoreArguments

SIZE = "compressed size"  # row beside the encoders
THUMBNAIL_PIXELS = 128
FIRST_CLASSES = 3  # classes that are taken where none is named
BATCH_SIZE = 16  # images that are decoded and scored before the progress is reported


@dataclass(frozen=True)
class Arguments:
    """Options of the experiment."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Encoders, as in `python -m score`."""
    images: str
    """Folder with a folder of images for each class."""
    classes: tuple[str, ...] = ()
    """Classes, by the names of their folders. (): the first three."""
    sample: int | None = None
    """Number of images of each class that are scored at most, drawn at random. None: all."""
    seed: int = 0
    """Seed of --sample."""
    count: int = 5
    """Number of images at each end of a picture."""
    work: str = "runs/paper_imagenet"
    """Folder of the pictures and the scores."""
    out: str = "benchmarks/results"
    """Folder of the results. paper_imagenet.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the experiment and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.paper imagenet", description=__doc__ or "")
        if a.count < 1 or (a.sample is not None and a.sample < LEAST_SAMPLES):
            raise ConfigError(f"--count must be positive, and --sample at least {LEAST_SAMPLES}")
        names, classes = short_names(a.models), chosen_classes(Path(a.images), a.classes)
        out, work, about = results_folder(a.out), Path(a.work), environment()
        make_directory(work)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in classes}
        shown: dict[str, LazyImages] = {}
        for model, name in zip(a.models, names, strict=True):
            options = ScoreArguments(model, a.images)
            encoder = open_encoder(options)
            say_origin(encoder, console)
            for of in classes:
                images = images_of(a, options, encoder, of)
                if of not in shown:
                    shown[of], scores[of][SIZE] = images, sizes(images)
                scores[of][name] = class_scores(a, model, encoder, images, f"{name}_{of}", console)
        for of in classes:
            console.print(f"picture: {draw(work / f'{of}.png', of, a.count, scores[of], shown[of])}", markup=False)
        found = {of: compared(scores[of], a.count) for of in classes}
        about |= {"sample": a.sample or "all", "seed": a.seed}
        write_results(out, "paper_imagenet", text(found, a.count), {"about": about, "models": a.models, "cells": found})
        return out / "paper_imagenet.md"

    return exit_status(measure)


def short_names(models: tuple[str, ...]) -> list[str]:
    """Return the last part of each path, with as many parts before it as tell all of them apart.

    Raises:
      ConfigError: If a model is named twice.
    """
    if len({Path(model).resolve() for model in models}) < len(models):
        raise ConfigError("a model is named twice")
    for depth in itertools.count(1):
        names = [re.sub(r"[^\w.]+", "-", "/".join(Path(model).resolve().parts[-depth:])) for model in models]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("unreachable")


def chosen_classes(images: Path, classes: tuple[str, ...]) -> list[str]:
    """Return the names of the folders of the classes.

    Raises:
      ConfigError: If there are no folders, or not one of this name.
    """
    if not images.is_dir():
        raise ConfigError(f"--images: {images} is not a folder")
    known = sorted(path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not known:
        raise ConfigError(f"--images: {images} has no folder of a class in it")
    for name in classes:
        if name not in known:
            raise ConfigError(f"--classes: {images} has no folder {name!r}{nearest(name, known)}")
    return list(dict.fromkeys(classes or known[:FIRST_CLASSES]))


def images_of(a: Arguments, options: ScoreArguments, encoder: Encoder, name: str) -> LazyImages:
    """Return the images of a class, the same ones for all encoders.

    Raises:
      ConfigError: If the encoder takes no images, or there are too few.
    """
    images = open_samples(options, str(Path(a.images) / name), encoder).x
    assert isinstance(images, LazyImages)
    if len(images) < LEAST_SAMPLES:
        raise ConfigError(f"the class {name} has {len(images)} images; ranks need at least {LEAST_SAMPLES}")
    rows = np.random.default_rng(a.seed).permutation(len(images))[: a.sample]
    return images.take(np.sort(rows))


def class_scores(
    a: Arguments, model: str, encoder: Encoder, images: LazyImages, name: str, console: Console
) -> np.ndarray:
    """Return the scores [N] of the images of a class, NaN for unreadable ones; from WORK if they are there."""
    identity = repr((fingerprint(model), images.fingerprint(), images.preprocessing.to_dict()))
    path = Path(a.work) / "scores" / f"{name}_{hashlib.sha256(identity.encode()).hexdigest()[:10]}.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    make_directory(path.parent)
    found, pulse = np.full(len(images), np.nan), Pulse(console, 0, len(images), f"{name}, image")
    for start in range(0, len(images), BATCH_SIZE):
        rows = np.arange(start, start + BATCH_SIZE) % len(images)  # filled up, so that one program is compiled
        batches = score_batches(encoder, images[rows], values=False)
        found[rows] = np.concatenate([np.asarray(batch.score) for batch in batches])
        pulse.beat(min(start + BATCH_SIZE, len(images)), early=not start)
    write_atomically(path, lambda p: np.save(p, found))
    return found


def sizes(images: LazyImages) -> np.ndarray:
    """Return minus the bytes [N] of each image as a small PNG, NaN for unreadable ones."""
    small = (images.thumbnail(row, THUMBNAIL_PIXELS) for row in range(len(images)))
    return np.array(
        [np.nan if x is None else -evaluate.compressed_size(np.asarray(x)[None], (0, 255))[0] for x in small]
    )


def ends(score: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the least likely images, from the least on, and of the most likely, to the most."""
    fine = np.flatnonzero(np.isfinite(score))
    order = fine[np.argsort(score[fine], kind="stable")]
    count = min(count, len(order) // 2)
    return order[:count], order[len(order) - count :]


def compared(scores: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """Return for every two encoders the rank correlation with its interval, and the images that both have at an end."""
    found = {}
    for first, second in itertools.combinations(sorted(scores, key=lambda name: name == SIZE), 2):
        fine = np.isfinite(scores[first]) & np.isfinite(scores[second])
        a, b = scores[first][fine], scores[second][fine]
        least, most = (len(np.intersect1d(x, y)) for x, y in zip(ends(a, count), ends(b, count), strict=True))
        enough = len(a) >= LEAST_SAMPLES
        correlation = rank_correlation(a, b) if enough else (float("nan"),) * 3
        found[f"{first}, {second}"] = {"count": len(a), "spearman": correlation, "least": least, "most": most}
    return found


def text(found: dict[str, Any], count: int) -> str:
    """Return the tables: the rank correlations within each class with their mean, and the shared extremes."""
    pairs = list(next(iter(found.values())))
    ranks, shared = [], []
    for pair in pairs:
        cells = [of[pair] for of in found.values()]
        known = [c["spearman"][0] for c in cells if np.isfinite(c["spearman"][0])]
        ranks.append([pair, f"{np.mean(known):.3f}" if known else "nan"])
        ranks[-1] += ["{:.3f} ({:.3f} to {:.3f})".format(*c["spearman"]) for c in cells]
        shared.append([pair, *(f"{c['least']} / {c['most']}" for c in cells)])
    classes = [f"{name} ({next(iter(of.values()))['count']})" for name, of in found.items()]
    return "\n\n".join(
        [
            "# Agreement of encoders on the images of a class",
            "Spearman correlation of the scores within each class (number of images), with 95 % interval, and the mean "
            f"over classes. `{SIZE}`: minus the bytes of a small PNG.",
            markdown_table(["", "mean", *classes], ranks),
            f"Images that both have among their {count} least / {count} most likely:",
            markdown_table(["", *found], shared),
        ]
    )


def draw(path: Path, name: str, count: int, scores: dict[str, np.ndarray], images: LazyImages) -> Path:
    """Write the picture of a class: a row for each encoder, the least likely on the left and the most on the right."""
    encoders = [encoder for encoder in scores if encoder != SIZE]
    figure = plots.Figure(figsize=(1.25 * (2 * count) + 0.6, 1.4 * len(encoders) + 0.6), dpi=110, layout="constrained")
    ratios = [1.0] * count + [0.25] + [1.0] * count
    axes = figure.subplots(len(encoders), 2 * count + 1, squeeze=False, width_ratios=ratios)
    for line, encoder in zip(axes, encoders, strict=True):
        least, most = ends(scores[encoder], count)
        places = [*zip(line[:count], least, strict=False), *zip(line[2 * count + 1 - len(most) :], most, strict=True)]
        for ax, row in places:
            if (picture := images.thumbnail(int(row), THUMBNAIL_PIXELS)) is not None:
                ax.imshow(picture.convert("RGB"))
            ax.set_title(f"{scores[encoder][row]:.4g}", fontsize=8)
        for ax in line:
            ax.set(xticks=[], yticks=[])
            ax.set_frame_on(False)
        line[0].set_ylabel(encoder, fontsize=8)
    figure.suptitle(f"{name}: the least likely, and on the right the most likely; JEPA-SCORE in nats")
    write_atomically(path, lambda p: figure.savefig(p, metadata=MARK))
    return path
