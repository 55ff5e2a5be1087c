"""Course of a score run: load the model and the data, score this process's share, and write if it is the last."""

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from jepa_jax import compile_cache
from jepa_jax.cli import as_flags
from jepa_jax.data import LazyImages, Samples, in_memory, read_samples
from jepa_jax.data.arrays import layout_hint
from jepa_jax.density import MemoryWarning, arithmetic_error, evaluate
from jepa_jax.distributed import join
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.loading import fingerprint, load, training_config
from jepa_jax.pretrained.words import in_words
from jepa_jax.progress import Pulse
from jepa_jax.run_dir import kind_of
from jepa_jax.sharding import open_mesh, shard_parameters

from . import ood, report
from .law import law_entries, measured_law
from .naming import call_digest, table_path
from .options import SCORE_OPTIONS, WEIGHT_OPTIONS, Arguments, check, check_rank
from .scorer import Scorer
from .seen import seen, unseen_categories
from .shards import Shards
from .tangent import tangents
from .views import open_views

MAX_SPECTRA = 1000  # samples whose spectra the picture summarises
LARGE_JACOBIAN_NUMBERS = 10**6  # above this size, only a few spectra are computed for the picture alone
MAX_FLOAT64_NUMBERS = 5 * 10**7  # size of a Jacobian above which a sample in float64 takes too long
FEW_SAMPLES = 8  # samples that are computed where more would take too long
PATIENCE_SECONDS = 7 * 24 * 3600  # time that a finished process waits for the others, which its exit may end


class Result(NamedTuple):
    """Result of a run that wrote the table.

    Attributes:
      summary: Content of FILE.json.
      out: Path of the table.
      pictures: Paths of the pictures.
      page: Path of the report, or None.
    """

    summary: dict[str, Any]
    out: Path
    pictures: list[Path]
    page: Path | None


def run(a: Arguments, console: Console) -> Result | str:
    """Score a.data with a.model; progress and warnings appear on the console.

    Returns:
      The result, or one line of text if another process writes the table.

    Raises:
      ConfigError: If the arguments, the model or the data are invalid.
    """
    check(a)
    share = join(
        a.coordinator, a.processes, a.process, a.distributed, together=False, patience_seconds=PATIENCE_SECONDS
    )
    if a.compile_cache:
        compile_cache.enable()
    encoder, samples = open_inputs(a, console)
    say_if_unlike(a, encoder, samples, console)
    scorer, source = prepare(a, encoder, samples)
    scorer, law = measured_law(a, scorer, console)
    typical = in_memory(samples.x, "--against", "take fewer with --limit") if a.against else samples.x[:0]
    others = {name: ood.outliers(name, typical, encoder.picture_preprocessing, a.max_pixels) for name in a.against}
    out = table_path(a, console)
    page = Path(a.report) if a.report else None
    for path in filter(None, (out, a.spectra, page)):
        make_directory(Path(path).parent)
    shards = Shards(out, scorer.record, identity(a, samples), len(samples.x))
    with warnings_as_lines(console):
        seconds, sigma = score_share(scorer, shards, *share.bounds(len(samples.x)), console)
        if seconds is None:
            console.print("already scored; 0 new samples")
            sigma = shards.shown()
        with shards.claim() as claimed:
            if not claimed:
                return f"this process's rows are done, and {shards.writer()} writes {out}"
            rows = shards.read()
            if rows["reason"].all():
                raise ConfigError(f"no sample of {a.data} has a score: {report.reason(samples, rows, 0)}")
            report.write_table(out, samples, rows, a.rank)
            if a.spectra:
                report.write_spectra(Path(a.spectra), report.row_ids(samples), rows)
            summary = report.summarise(a, scorer, rows, samples, seconds) | law_entries(scorer, law)
            summary |= {"tangent": {"dim": a.tangent, "source": source}} if a.tangent else {}
            summary |= measured(a, encoder, scorer, samples, typical, others, console)
            report.write_summary(out.with_suffix(".json"), summary)
            shown = spectra_shown(scorer) if sigma is None else sigma
            thumbnail = report.thumbnails(samples, encoder.preprocessing)
            pictures = report.draw(out, rows, samples, shown, thumbnail)
            if page:
                with console.status(f"writing {page}"):
                    report.write_page(page, summary, rows, samples, shown, thumbnail)
            shards.keep(rows, shown)
    return Result(summary, out, pictures, page)


def measured(
    a: Arguments,
    encoder: Encoder,
    scorer: Scorer,
    samples: Samples,
    typical: np.ndarray,
    others: dict[str, np.ndarray],
    console: Console,
) -> dict[str, Any]:
    """Return the entries of FILE.json that are measured beside the rows, and those about the model and its training.

    Args:
      a: Arguments of the program.
      encoder: Encoder.
      scorer: Scorer of the rows.
      samples: Samples that were scored.
      typical: The samples in memory, for --against.
      others: Outliers by name.
      console: Console for progress.
    """
    found = {"call": call_digest(a)} | told(encoder)
    with console.status("measuring the error of the arithmetic"):
        found |= arithmetic(a, encoder, samples.x, scorer.how)
    known = found["encoder_trained_on_them"] = seen(training_config(a.model), a.data, samples)
    if others:
        with console.status("comparing with other data"):
            found |= ood.compare(a, encoder, typical, samples, others, known)
    return found


def prepare(a: Arguments, encoder: Encoder, samples: Samples) -> tuple[Scorer, str]:
    """Return the scorer that the arguments describe, and the origin of its tangents (`exact`, `neighbours` or "").

    Raises:
      ConfigError: If the encoder, the data or the device do not support the arguments.
    """
    check_rank(a, math.prod(encoder.shape), encoder.dim)
    how = {name: getattr(a, name) for name in SCORE_OPTIONS}
    tangent, source = (None, "") if a.tangent is None else tangents(a.data, samples, a.tangent)
    views = None
    if a.views > 1:
        if training_config(a.model) is None:
            raise ConfigError(f"--views: {a.model} was trained elsewhere, with unknown views; leave out --views")
        views = open_views(Path(a.model), a.data, samples, a.views)
    local = jax.local_devices()
    count = a.devices or len(local)
    mesh = open_mesh(local, count, a.shard_parameters, have="this process has")
    mesh = mesh if mesh.size > 1 else None
    placed = encoder if mesh is None else shard_parameters(encoder, mesh)
    try:  # trace it once, so that errors of the library in these options are raised now
        x = jnp.asarray(samples.x[0])
        t = None if tangent is None else jnp.asarray(tangent[0])
        jax.eval_shape(lambda x, t: evaluate(encoder, x, a.eps, **how, tangent=t, values=a.method != "qr"), x, t)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    scorer = Scorer(
        placed, samples.x, a.eps, how, views, a.views, a.rank or 0, tangent, bool(a.spectra), mesh, a.batch_size
    )
    return scorer, source


def score_share(
    scorer: Scorer, shards: Shards, start: int, stop: int, console: Console
) -> tuple[float | None, np.ndarray | None]:
    """Score the rows start..stop, except those that an earlier call has scored.

    Args:
      scorer: Scorer.
      shards: Rows on disk.
      start: First row.
      stop: One past the last row.
      console: Console for the progress bar.

    Returns:
      The seconds per sample, and singular values [n, R] of some samples. Both are None if no sample was scored, and the
      latter also if the method gives no singular values.
    """
    shards.adopt(start, stop, scorer.unit)
    gaps = shards.missing(start, stop)
    fresh, spectra, shown = 0, [], 0
    started = time.perf_counter()
    pulse = Pulse(console, 0, sum(last - first for first, last in gaps), "sample")
    with progress(console) as bar:
        task = bar.add_task("scoring", total=stop - start, completed=stop - start - sum(b - a for a, b in gaps))
        for first, last in gaps:
            shard = shards.begin(first)
            for rows, sigma in scorer.rows(first, last):
                shard.append(rows)
                bar.advance(task, len(rows))
                pulse.beat(fresh + len(rows), early=not fresh)
                fresh += len(rows)
                if sigma is not None and shown < MAX_SPECTRA:
                    spectra.append(sigma[: MAX_SPECTRA - shown])
                    shown += len(spectra[-1])
            shard.finish()
    seconds = (time.perf_counter() - started) / fresh if fresh else None
    return seconds, np.concatenate(spectra) if spectra else None


def arithmetic(a: Arguments, encoder: Encoder, xs: np.ndarray | LazyImages, how: dict[str, Any]) -> dict[str, Any]:
    """Measure the error of a score due to the precision of the encoder's arithmetic.

    Args:
      a: Arguments of the program.
      encoder: Encoder.
      xs: Samples [N, ...].
      how: Options of `score_batches`.

    Returns:
      `arithmetic_error`, the largest error over a few samples in nats, and `arithmetic_error_samples`, their number.
      The error is None if it cannot be measured: for an encoder that fixes a precision of its own, or one so large that
      a sample in float64 takes minutes.
    """
    numbers = math.prod(encoder.shape) * encoder.dim
    count = 0 if numbers > MAX_FLOAT64_NUMBERS else 1 if numbers > LARGE_JACOBIAN_NUMBERS else FEW_SAMPLES
    error = np.array([])
    if count:
        try:
            error = arithmetic_error(encoder, xs[:count], a.eps, **how)
        except ValueError:
            count = 0
    error = error[np.isfinite(error)]
    return {"arithmetic_error": float(error.max()) if len(error) else None, "arithmetic_error_samples": len(error)}


def spectra_shown(scorer: Scorer) -> np.ndarray:
    """Compute singular values [n, R] of the first samples, if scoring was done before or by QR and provides none."""
    large = math.prod(scorer.encoder.shape) * scorer.encoder.dim > LARGE_JACOBIAN_NUMBERS
    count = min(len(scorer.xs), FEW_SAMPLES if large else MAX_SPECTRA)
    by_svd = dataclasses.replace(scorer, how=scorer.how | {"method": "auto"}, num_views=1, views=None)
    return np.concatenate([sigma for _, sigma in by_svd.rows(0, count) if sigma is not None])


def open_inputs(a: Arguments, console: Console) -> tuple[Encoder, Samples]:
    """Load the encoder, and read the samples or the names of their files.

    Raises:
      ConfigError: If either cannot be read, or they do not fit each other.
    """
    encoder = open_encoder(a)
    say_origin(encoder, console)
    samples = read_samples(a.data, a.limit, preprocessing=encoder.picture_preprocessing, max_pixels=a.max_pixels)
    samples = some_of(a, samples)
    if samples.x.shape[1:] != encoder.shape:
        raise ConfigError(
            f"{a.data} has samples of shape {list(samples.x.shape[1:])}, and {a.model} takes {list(encoder.shape)}"
            + layout_hint(samples.x.shape, encoder.shape)
        )
    return encoder, samples


def open_encoder(a: Arguments) -> Encoder:
    """Load the encoder, with the options for foreign weights.

    Raises:
      ConfigError: As in `load`, or if the model is not foreign and takes no such options.
    """
    given = {name: getattr(a, name) for name in WEIGHT_OPTIONS if getattr(a, name) is not None}
    if given and kind_of(Path(a.model)) != "foreign":
        names = ", ".join(f"`{name}`" for name in given)
        raise ConfigError(f"{names}: only foreign weights take options, and {a.model} was written by jepa_jax")
    return load(a.model, weights=a.weights, step=a.step, **given)


def say_origin(encoder: Encoder, console: Console) -> None:
    """Print which encoder was taken from foreign weights, and what was assumed."""
    origin = encoder.origin
    if origin is None:
        return
    for line in in_words(origin, encoder.shape, encoder.dim, encoder.preprocessing):
        console.print(line, markup=False)
    for note in origin.get("notes", ()):
        console.print(f"note: {as_flags(note, Arguments)}", markup=False)


def told(encoder: Encoder) -> dict[str, Any]:
    """Return the entries of FILE.json about foreign weights."""
    recipe = encoder.preprocessing
    if encoder.origin is None:
        return {}
    return {"origin": encoder.origin, "preprocessing": None if recipe is None else recipe.to_dict()}


def some_of(a: Arguments, samples: Samples) -> Samples:
    """Return the samples that --sample draws, in the order of the data."""
    if a.sample is None or a.sample >= len(samples.x):
        return samples
    drawn = np.random.default_rng(a.sample_seed).choice(len(samples.x), a.sample, replace=False)
    return samples.take(np.sort(drawn))


def say_if_unlike(a: Arguments, encoder: Encoder, samples: Samples, console: Console) -> None:
    """Warn of categories that training did not have, and of raw pixels for an encoder of standardised images."""
    for sentence in unseen_categories(training_config(a.model), samples):
        console.print(f"note: {sentence}", markup=False)
    say_if_raw(a, encoder, samples, console)


def say_if_raw(a: Arguments, encoder: Encoder, samples: Samples, console: Console) -> None:
    """Warn if arrays that look like raw pixels are passed to an encoder that takes standardised images."""
    recipe, xs = encoder.preprocessing, samples.x
    if recipe is None or not recipe.standardises or isinstance(xs, LazyImages) or xs.min() < 0:
        return
    if samples.from_bytes:
        done = "scaled from bytes to [0, 1], and not standardised"
    elif xs.max() <= 255:
        done = f"passed unchanged, with values from {xs.min():.4g} to {xs.max():.4g}, and not standardised"
    else:
        return
    mean, std = list(recipe.mean), list(recipe.std)
    console.print(
        f"warning: the arrays in {a.data} are {done} as a folder of images would be; this encoder expects "
        f"(x - mean) / std, with x in [0, 1], mean {mean} and std {std}",
        markup=False,
    )


def identity(a: Arguments, samples: Samples) -> dict[str, Any]:
    """Return the identity of a call: all that determines its rows.

    The rows of an interrupted call are reused by a call with the same identity. The number of devices is no part of it.
    """
    model, data = Path(a.model), Path(a.data)
    file: list[Any] = [data.stat().st_size, data.stat().st_mtime_ns] if data.is_file() else []
    if isinstance(samples.x, LazyImages):
        file = [samples.x.fingerprint(), samples.x.preprocessing.to_dict()]
    numbers = (
        "weights",
        "step",
        "data",
        "limit",
        "sample",
        "sample_seed",
        "max_pixels",
        "views",
        "rank",
        "tangent",
        "eps",
        "law",
        "batch_size",
        *SCORE_OPTIONS,
        *WEIGHT_OPTIONS,
    )
    return {
        "model": str(model.resolve()),
        "fingerprint": fingerprint(model),
        "file": file,
        **{name: getattr(a, name) for name in numbers},
    }


@contextmanager
def warnings_as_lines(console: Console) -> Iterator[None]:
    """Print each warning of the library about a lack of memory once, in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", MemoryWarning)
        usual, said = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, MemoryWarning):
                usual(message, category, *where, **more)
            elif str(message) not in said:
                said.add(str(message))
                console.print(f"warning: {message}", markup=False)

        warnings.showwarning = show
        yield


def progress(console: Console) -> Progress:
    """Return a progress bar with the elapsed and the remaining time."""
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
