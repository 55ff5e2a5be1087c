"""Detection of samples from elsewhere by the embeddings of an encoder: JEPA-SCORE beside simpler detectors.

    python -m benchmarks.ood [MODEL --inside DATA --outside DATA ...] [--sample N] [--seed S]

Hardware: any; without MODEL two minutes on two cores. MODEL is what the score program takes: a training run, a
converted model or foreign weights. DATA follows its grammar; `--outside` also takes corruptions of the samples
themselves (`inverted`, `rotated`, `noise`) and `patches`, pieces of the two photographs in scikit-learn. Without MODEL
the config `digits` is trained first and judged on digits.

The rows of `--inside`, or those that the run held out if it was trained on them, are divided by the seed: the first
half is the reference, to which k-NN and Mahalanobis are fitted, and the other half is judged. A cell is the probability
that a sample from inside ranks above one from outside (AUROC; below 0.5 the ranking is inverted), with an interval of
95 % over samples; q1 to q4 are the same among samples of like complexity, between the quartiles of the compressed size
of the inside. One call makes one table: OUT/DEVICE/ood.json and ood.md, or ood_MODEL_DATA of another model.
"""

import dataclasses
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from benchmarks.intervals import auroc_interval
from benchmarks.report import environment, exit_status, markdown_table, results_folder, write_results
from jepa_jax import evaluate
from jepa_jax.cli import parse
from jepa_jax.data import Samples, in_memory, is_held_out, readable
from jepa_jax.density import base_log_density, score_batches
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.loading import training_config
from jepa_jax.progress import Pulse
from score.embedding import embed
from score.inputs import open_inputs, open_samples
from score.ood import outliers
from score.options import Arguments as ScoreArguments
from score.seen import seen
from train.config_files import find_config
from train.loop import train

DEFAULT_OUTSIDE = (*evaluate.CORRUPTIONS, "patches")
PATCHES = 400  # pieces of photographs
QUARTILES = 4
LEAST = 10  # samples of a kind in a quartile, below which it has no AUROC


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ""
    """Encoder, as in `python -m score`. "": the config `digits` is trained first."""
    inside: str = ""
    """Data that are typical, as in `python -m score`. "": digits, without MODEL."""
    outside: tuple[str, ...] = ()
    """Data that are not, in the same syntax; `inverted`, `rotated`, `noise` (corruptions of the samples themselves); or
    `patches` (pieces of photographs). (): all of these, without MODEL."""
    sample: int | None = None
    """Number of rows of each set that are used at most, drawn at random. None: all."""
    seed: int = 0
    """Seed of the halves and of the draws."""
    steps: int | None = None
    """Training steps without MODEL. None: those of the config."""
    out: str = "benchmarks/results"
    """Folder of the results. ood.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.ood", description=__doc__ or "")
        if a.sample is not None and a.sample < 2 * LEAST:
            raise ConfigError(f"--sample is {a.sample}; it must be at least {2 * LEAST}")
        if bool(a.model) != bool(a.inside and a.outside) or (not a.model and (a.inside or a.outside)):
            raise ConfigError("MODEL, --inside and --outside belong together; name all of them or none")
        out, about = results_folder(a.out), environment()
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if a.model:
            return write(a, out, about, measured(a, console))
        with tempfile.TemporaryDirectory() as folder:
            run = trained(Path(folder) / "digits", a.steps, console)
            found = measured(dataclasses.replace(a, model=run, inside="digits", outside=DEFAULT_OUTSIDE), console)
        return write(a, out, about, found)

    return exit_status(measure)


def trained(run: Path, steps: int | None, console: Console) -> str:
    """Train the config `digits` into a folder, and return its path."""
    config = find_config("digits")[1]
    monitor = dataclasses.replace(config.monitor, figures=False)
    console.print("training the config digits")
    train(dataclasses.replace(config, steps=steps or config.steps, monitor=monitor), run, Console(quiet=True))
    return str(run)


def measured(a: Arguments, console: Console) -> dict[str, Any]:
    """Return the figures of all detectors on all sets of outliers.

    Args:
      a: Arguments, with all names filled in.
      console: Console for progress.

    Returns:
      `known` (what training has seen of the rows), `reference` and `judged` (their numbers), and `cells`: name of the
      outliers -> `count` and `detectors`.

    Raises:
      ConfigError: If the model or the data cannot be read or do not fit each other, or are too few.
    """
    options = ScoreArguments(a.model, a.inside)
    encoder, samples = open_inputs(options, console)
    known, rows = unseen_rows(a, samples)
    draw = np.random.default_rng(a.seed)
    rows = draw.permutation(rows)[: a.sample]
    if len(rows) < 4 * LEAST:
        raise ConfigError(f"{a.inside} has {len(rows)} rows to judge by; at least {4 * LEAST} are needed")
    halves = np.sort(rows[: len(rows) // 2]), np.sort(rows[len(rows) // 2 :])
    reference, judged = (in_memory(samples.take(half).x, "--inside", "take fewer with --sample") for half in halves)
    reference, judged = reference[readable(reference)], judged[readable(judged)]
    detect = Detectors(encoder, reference)
    inside = detect(judged, "inside", console)
    cells = {}
    for name in a.outside:
        if name == "patches":
            others = patches(encoder, a.seed)
        else:
            others = outliers(name, judged, lambda name: some(open_samples(options, name, encoder), a.sample, draw))
        found = detect(others, name, console)
        sizes = evaluate.compressed_size(np.concatenate([judged, others]))  # at once, so that they share one scale
        cells[name] = compared(inside, found, sizes[: len(judged)], sizes[len(judged) :])
    return {"known": known, "reference": len(reference), "judged": len(judged), "cells": cells}


def unseen_rows(a: Arguments, samples: Samples) -> tuple[str, np.ndarray]:
    """Return what training has seen of the rows, and the numbers of those that it has not, or of all."""
    config = training_config(a.model)
    known = seen(config, a.inside, samples)
    if config is None or known != "trained on":
        return known, np.arange(len(samples.x))
    held = samples.held_out
    if held is None and config.data.holdout:
        held = is_held_out(len(samples.x), config.data.holdout)
    return (known, np.arange(len(samples.x))) if held is None else ("held out", np.flatnonzero(held))


def some(samples: Samples, count: int | None, draw: np.random.Generator) -> Samples:
    """Return some samples, drawn without replacement; all if the number is None."""
    return samples.take(np.sort(draw.permutation(len(samples.x))[:count]))


def patches(encoder: Encoder, seed: int) -> np.ndarray:
    """Return square pieces of the two photographs in scikit-learn as samples of an encoder, [N, H, W, C].

    Raises:
      ConfigError: If the encoder takes no images.
    """
    from sklearn.datasets import load_sample_images

    if not encoder.takes_images:
        raise ConfigError("--outside patches: the encoder takes no images")
    photographs, draw, found = load_sample_images().images, np.random.default_rng(seed), []
    for number in range(PATCHES):
        photograph = photographs[number % len(photographs)]
        side = int(draw.integers(encoder.shape[0], min(photograph.shape[:2]) // 2))
        top, left = (int(draw.integers(length - side)) for length in photograph.shape[:2])
        found.append(encoder.preprocess(photograph[top : top + side, left : left + side]))
    return np.stack(found)


class Detectors:
    """Detectors of an encoder, fitted to reference samples; high is typical."""

    def __init__(self, encoder: Encoder, reference: np.ndarray) -> None:
        """Embed reference samples [N, ...]."""
        self._encoder, self._flat = encoder, reference.reshape(len(reference), -1)
        z = embed(encoder, reference)
        self._reference = z[np.isfinite(z).all(axis=1)]

    def __call__(self, xs: np.ndarray, name: str, console: Console) -> dict[str, np.ndarray]:
        """Return the values [N] of every detector for samples [N, ...]."""
        z = embed(self._encoder, xs)
        score, pulse = [], Pulse(console, 0, len(xs), f"{name}, sample")
        for batch in score_batches(self._encoder, xs, values=False):
            score.append(np.asarray(batch.score))
            pulse.beat(min(sum(map(len, score)), len(xs)), early=len(score) == 1)
        found = {"JEPA-SCORE": np.concatenate(score)}
        base = base_log_density(jnp.asarray(z), self._encoder.base)
        if base is not None and np.ptp(np.asarray(base)) > 1e-3:  # a constant on the sphere
            found["log_density"] = found["JEPA-SCORE"] + np.asarray(base)
        unit, reference = normalised(z), normalised(self._reference)
        return found | {
            "k-NN, embedding": -evaluate.knn_distance(self._reference, z),
            # Where clusters have few samples, the tenth neighbour is often in another one.
            "nearest, embedding": -evaluate.knn_distance(self._reference, z, 1),
            "Mahalanobis, normalised embedding": -evaluate.mahalanobis(reference, unit),
            # Rounded, so that rounding noise is no ranking on a sphere, where the norm is constant.
            "embedding norm": np.round(np.linalg.norm(z, axis=1), 4),
            "k-NN, input": -evaluate.knn_distance(self._flat, xs.reshape(len(xs), -1)),
        }


def normalised(z: np.ndarray) -> np.ndarray:
    """Return embeddings [N, K] divided by their norms."""
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def compared(
    inside: dict[str, np.ndarray], outside: dict[str, np.ndarray], small: np.ndarray, other: np.ndarray
) -> dict[str, Any]:
    """Return the AUROC of every detector, overall and among samples of like complexity.

    Args:
      inside: Detector -> values [N] of typical samples.
      outside: Detector -> values [M] of outliers.
      small: Compressed sizes [N] of the typical samples.
      other: Compressed sizes [M] of the outliers.
    """
    edges = np.quantile(small, np.arange(1, QUARTILES) / QUARTILES)
    of_inside, of_outside = (np.searchsorted(edges, sizes) for sizes in (small, other))
    values = {name: (inside[name], outside[name]) for name in inside} | {"compressed size": (-small, -other)}
    found = {}
    for name, (ours, theirs) in values.items():
        fine = np.isfinite(ours), np.isfinite(theirs)
        whole = evaluate.auroc(ours[fine[0]], theirs[fine[1]])
        low, high = auroc_interval(whole, int(fine[0].sum()), int(fine[1].sum()))
        quartiles = []
        for q in range(QUARTILES):
            a, b = ours[fine[0] & (of_inside == q)], theirs[fine[1] & (of_outside == q)]
            quartiles.append(evaluate.auroc(a, b) if min(len(a), len(b)) >= LEAST else None)
        found[name] = {"auroc": whole, "low": low, "high": high, "quartiles": quartiles}
    counts = [[int((numbers == q).sum()) for numbers in (of_inside, of_outside)] for q in range(QUARTILES)]
    return {"count": len(other), "counts": counts, "detectors": found}


def write(a: Arguments, out: Path, about: dict[str, Any], found: dict[str, Any]) -> Path:
    """Write the JSON and the table, and return the path of the table."""
    model, inside = a.model or "the config digits, just trained", a.inside or "digits"
    name = "ood" if not a.model else "_".join(["ood", *(re.sub(r"\W+", "-", Path(p).name) for p in (model, inside))])
    text = [
        f"# Outliers by the embeddings of an encoder\n\nModel: {Path(model).name}. Inside: {Path(inside).name} "
        f"({found['known']}), {found['judged']} samples judged, {found['reference']} others as reference. AUROC with "
        "its 95 % interval over samples; q1 to q4: among samples of like compressed size, small to large, `-` where "
        f"fewer than {LEAST} of a kind are."
    ]
    rows = []
    for outside, cell in found["cells"].items():
        counts = [f"{a} / {b}" for a, b in cell["counts"]]
        rows.append([f"**{Path(outside).name}**", "number inside / outside", f"{found['judged']} / {cell['count']}"])
        rows[-1] += counts
        for detector, f in cell["detectors"].items():
            quartiles = ["-" if v is None else f"{v:.3f}" for v in f["quartiles"]]
            rows.append(["", detector, f"{f['auroc']:.3f} ({f['low']:.3f} to {f['high']:.3f})", *quartiles])
    text.append(markdown_table(["outside", "detector", "AUROC", "q1", "q2", "q3", "q4"], rows))
    about = about | {"seed": a.seed, "sample": a.sample or "all", "steps": a.steps or "as configured"}
    write_results(out, name, "\n\n".join(text), {"about": about, "model": model, "inside": inside, **found})
    return out / f"{name}.md"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
