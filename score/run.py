"""The story of a score run: load, score, compare, write."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from jepa_jax.checkpoint import FOLDER, load, read_config
from jepa_jax.config import ConfigError
from jepa_jax.data import Samples, is_held_out, read_samples
from jepa_jax.density import singular_values
from jepa_jax.encoder import Encoder
from jepa_jax.files import make_directory, write_atomically
from score import report
from score.stream import Options, Scored, score_file

SPECTRA_SHOWN = 1000  # samples whose spectra the picture summarises


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    model: Annotated[str, tyro.conf.Positional]
    """A directory made by `python -m train`."""
    data: str
    """A world's name, FILE.npy, FILE.npz, or `digits`."""
    out: str | None = None
    """FILE.csv. None: in the model's folder scores/, by the data's name."""
    spectra: str | None = None
    """FILE.npz for all singular values: `singular_values` [N, R], descending, and `id`."""
    against: tuple[str, ...] = ()
    """Also tell the samples from these, and report AUROC beside k-NN, Mahalanobis, embedding norm and compressed size:
    `inverted`, `rotated`, `noise` (corruptions of the samples themselves), or other DATA."""
    eps: float = 1e-6
    """Singular values at or below this are clipped to it."""
    mode: Literal["auto", "forward", "reverse"] = "auto"
    """How to differentiate: forward costs D products a sample, reverse K."""
    chunk: int | None = None
    """Products at once, to bound memory. None: all."""
    batch_size: int | None = None
    """Samples at once. None: as many as keep their Jacobians within 256 MiB."""
    limit: int | None = None
    """Score only the first this many; of a world, draw this many (10,000 otherwise)."""


def run(a: Arguments, console: Console) -> tuple[dict[str, Any], Path, list[Path]]:
    """Score a.data with a.model; returns the summary, the CSV's path and the pictures' paths.

    Raises:
      ConfigError: the arguments, the model or the data are wrong.
    """
    check(a)
    model = Path(a.model)
    encoder = load(model)
    samples = read_samples(a.data, a.limit)
    if samples.x.shape[1:] != encoder.shape:
        raise ConfigError(
            f"{a.data} has samples of shape {list(samples.x.shape[1:])}, and {model} takes {list(encoder.shape)}"
        )
    others = {name: report.outliers(name, samples.x) for name in a.against}
    out = Path(a.out) if a.out else model / "scores" / f"{Path(a.data).stem}.csv"
    spectra = Path(a.spectra) if a.spectra else None
    for path in (out, spectra):
        if path is not None:
            make_directory(path.parent)
    options = Options(a.eps, a.mode, a.chunk, a.batch_size)
    with progress(console) as bar:
        task = bar.add_task("scoring", total=len(samples.x))
        scored = score_file(
            encoder, samples, options, out, spectra, identity(a), lambda done: bar.update(task, completed=done)
        )
    summary = summarise(a, encoder, scored, samples)
    if others:
        with console.status("comparing with other data"):
            summary |= compare(a, encoder, samples.x, others, options)
    text = json.dumps({k: None if is_nan(v) else v for k, v in summary.items()}, indent=2) + "\n"
    write_atomically(out.with_suffix(".json"), lambda path: path.write_text(text))
    sigma = scored.singular_values
    if sigma is None:
        shown = samples.x[:SPECTRA_SHOWN]
        sigma = np.asarray(jax.lax.map(lambda x: singular_values(encoder, x), shown, batch_size=32))
    return summary, out, report.draw(out, scored, samples.x, sigma, samples.log_density)


def check(a: Arguments) -> None:
    """Refuse arguments that cannot be right."""
    for name, value in (("--eps", a.eps), ("--chunk", a.chunk), ("--batch-size", a.batch_size), ("--limit", a.limit)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}; it must be positive")
    for name, path, suffix in (("--out", a.out, ".csv"), ("--spectra", a.spectra, ".npz")):
        if path is not None and Path(path).suffix != suffix:
            raise ConfigError(f"{name} is {path}; it must end in {suffix}")


def identity(a: Arguments) -> dict[str, Any]:
    """What the rows of an interrupted call must agree on to count in this one."""
    model, data = Path(a.model), Path(a.data)
    steps = sorted(p.name for p in (model / FOLDER).iterdir())
    file = [data.stat().st_size, data.stat().st_mtime_ns] if data.is_file() else []
    return {
        "model": str(model.resolve()),
        "config": (model / "config.json").read_text(),
        "steps": steps,
        "data": a.data,
        "file": file,
        "eps": a.eps,
        "mode": a.mode,
        "limit": a.limit,
    }


def summarise(a: Arguments, encoder: Encoder, scored: Scored, samples: Samples) -> dict[str, Any]:
    """What stands in FILE.json."""
    finite = np.isfinite(scored.score)
    return {
        "model": a.model,
        "data": a.data,
        "count": len(samples.x),
        "options": {k: v for k, v in vars(a).items() if k not in ("model", "data")},
        "device": jax.devices()[0].device_kind,
        "seconds_per_sample": scored.seconds / scored.fresh if scored.fresh else None,
        "score_mean": float(scored.score[finite].mean()) if finite.any() else None,
        "clipped_mean": float(scored.clipped.mean()),
        "null_directions": encoder.null_directions,
        "law": encoder.law,
        "without_score": int((~finite).sum()),
        **report.truth(scored, samples.log_density),
    }


def compare(
    a: Arguments, encoder: Encoder, xs: np.ndarray, others: dict[str, np.ndarray], options: Options
) -> dict[str, Any]:
    """AUROC of every detector, all on rows that none of them was fitted on."""
    data = read_config(Path(a.model))[0].data
    own = data.source == a.data
    # The rows a run held out of training; of other data, a random half.
    held = is_held_out(len(xs), data.holdout if own and data.holdout else 0.5)
    if held.all() or not held.any():
        raise ConfigError(f"--against needs more samples than {len(xs)}: some to fit the other detectors on")
    others = {name: other[held] if name in report.CORRUPTIONS else other for name, other in others.items()}
    return {
        "against": report.separation(encoder, xs[held], xs[~held], others, options),
        "against_count": int(held.sum()),
        "encoder_trained_on_them": own and not data.holdout,
    }


def is_nan(value: Any) -> bool:
    """Whether a value is one that JSON cannot hold."""
    return isinstance(value, float) and not np.isfinite(value)


def progress(console: Console) -> Progress:
    """A progress bar with the time left."""
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
