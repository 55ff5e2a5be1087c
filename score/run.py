"""Course of a score run: load the model and the data, score this process's share, and write if it is the last."""

import dataclasses
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jepa_jax import compile_cache
from jepa_jax.data import LazyImages, Samples, in_memory
from jepa_jax.density import MemoryWarning, arithmetic_error, evaluate
from jepa_jax.distributed import Share, join
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.loading import fingerprint, model_folder, training_config
from jepa_jax.sharding import open_mesh, shard_parameters

from . import ood, report
from .curation import Curated, curate
from .embedding import embed, write_embeddings
from .inputs import open_inputs, open_samples, say_if_unlike, told
from .law import law_entries, measured_law
from .naming import call_digest, pilot_options, rows_path, table_path
from .options import SCORE_OPTIONS, WEIGHT_OPTIONS, Arguments, check, check_rank
from .pilot import Pilot, draw_pilot, predict
from .precision import measure_precision
from .scorer import Scorer
from .seen import seen
from .shards import Shards
from .share import MAX_SPECTRA, score_share
from .table import reason, row_ids, score_columns, write_table
from .tangent import tangents
from .unchanged import inventory
from .views import open_views
from .workers import score_rows

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
    a = dataclasses.replace(a, model=str(model_folder(a.model)))
    share = join(
        a.coordinator, a.processes, a.process, a.distributed, together=False, patience_seconds=PATIENCE_SECONDS
    )
    if a.compile_cache:
        compile_cache.enable()
    encoder, whole = open_inputs(a, console)
    notes = say_if_unlike(a, encoder, whole, console)
    samples = whole if (pilot := draw_pilot(a, encoder, whole)) is None else pilot.samples
    scorer, about = prepare(a, encoder, samples)
    about |= measure_precision(a, scorer, console) | ({"notes": notes} if notes else {})
    scorer, law = measured_law(a, scorer, console)
    typical = in_memory(samples.x, "--against", "take fewer with --limit") if a.against else samples.x[:0]
    others = {name: ood.outliers(name, typical, lambda name: open_samples(a, name, encoder)) for name in a.against}
    out, page = table_path(a, console), Path(a.report) if a.report else None
    for path in filter(None, (out, a.spectra, a.embeddings, page)):
        make_directory(Path(path).parent)
    call, bounds = identity(a, samples), share.bounds(len(samples.x))
    shards = Shards(rows_path(out), scorer.record, call, len(samples.x))
    files = inventory(a, rows_path(out), shards, call, samples, law=bool(law_entries(scorer, law)))
    if files and bounds == (0, len(samples.x)) and (unchanged := files.restore()):
        console.print(f"{unchanged} of {len(samples.x)} images are as they were when they were scored")
    with warnings_as_lines(console):
        seconds, sigma = scored(dataclasses.replace(a, out=str(out)), scorer, shards, bounds, console)
        if seconds is None:
            console.print("already scored; 0 new samples")
            sigma = shards.shown()
        with shards.claim() as claimed:
            if not claimed:
                return f"this process's rows are done, and {shards.writer()} writes {out}"
            rows = shards.read()
            if rows["reason"].all():
                raise ConfigError(f"no sample of {a.data} has a score: {reason(samples, rows, 0)}")
            listed, found = embedded(a, scorer, whole, pilot, rows, out, console)
            write_table(out, score_columns(whole, listed, a.rank, found.columns))
            if a.spectra:
                report.write_spectra(Path(a.spectra), row_ids(samples), rows)
            summary = found.entries | about | report.summarise(a, scorer, listed, whole, seconds)
            summary |= law_entries(scorer, law) | measured(a, encoder, scorer, samples, typical, others, console)
            report.write_summary(out.with_suffix(".json"), summary)
            shown = (spectra_shown(scorer) if sigma is None else sigma)[:, : scorer.directions]  # without null ones
            thumbnail = report.thumbnails(samples, encoder.preprocessing)
            pictures = report.draw(out, rows, samples, shown, thumbnail)
            if page:
                with console.status(f"writing {page}"):
                    report.write_page(page, summary, rows, samples, shown, thumbnail, found.suspects)
            shards.keep(rows, shown)
            if files:
                files.keep()
    return Result(summary, out, pictures, page)


def scored(
    a: Arguments, scorer: Scorer, shards: Shards, bounds: tuple[int, int], console: Console
) -> tuple[float | None, np.ndarray | None]:
    """Score the missing ones of some rows, and return what `score_rows` does; a.out is the path of the table."""
    return score_rows(a, scorer, shards, bounds, work, console, large=has_large_jacobian(scorer.encoder))


def work(a: Arguments, index: int, count: int) -> np.ndarray | None:
    """Score the share of one of several processes that `score_rows` starts, and return singular values of some samples.

    Args:
      a: Arguments of the program, with the path of the table.
      index: Index of this process.
      count: Number of processes.
    """
    quiet = Console(quiet=True)
    encoder, whole = open_inputs(a, quiet)
    samples = whole if (pilot := draw_pilot(a, encoder, whole)) is None else pilot.samples
    scorer, _ = prepare(a, encoder, samples)
    shards = Shards(rows_path(table_path(a, quiet)), scorer.record, identity(a, samples), len(samples.x))
    with warnings_as_lines(Console(stderr=True, highlight=False, soft_wrap=True)):
        return score_share(scorer, shards, *Share(index, count).bounds(len(samples.x)), quiet)[1]


def has_large_jacobian(encoder: Encoder) -> bool:
    """Return whether a Jacobian takes so long that only those that are asked for are computed."""
    return math.prod(encoder.shape) * encoder.dim > LARGE_JACOBIAN_NUMBERS


def embedded(
    a: Arguments,
    scorer: Scorer,
    whole: Samples,
    pilot: Pilot | None,
    rows: np.ndarray,
    out: Path,
    console: Console,
) -> tuple[np.ndarray, Curated]:
    """Write --embeddings, and return what needs the embeddings of all samples.

    Returns:
      The records of all samples; and what --curate or --pilot add to the table, FILE.json and the report.
    """
    nothing = Curated({}, {}, None)
    if not (a.embeddings or a.curate or pilot):
        return rows, nothing
    with console.status("embedding the samples"):
        z = embed(scorer.encoder, whole.x)
    if a.embeddings:
        write_embeddings(Path(a.embeddings), row_ids(whole), z)
    if pilot:
        everyone = identity(a, whole) | {"pilot": "all"}  # the sketches of a larger pilot are the same
        listed, columns, entries = predict(a, scorer, pilot, rows, z, everyone, rows_path(out), console)
        return listed, Curated(columns, entries, None)
    if not a.curate:
        return rows, nothing
    return rows, curate(whole, rows["score"], z, console)


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


def prepare(a: Arguments, encoder: Encoder, samples: Samples) -> tuple[Scorer, dict[str, Any]]:
    """Return the scorer that the arguments describe, and the entries of FILE.json about its tangents.

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
    return scorer, {"tangent": {"dim": a.tangent, "source": source}} if a.tangent else {}


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
    count = min(len(scorer.xs), FEW_SAMPLES if has_large_jacobian(scorer.encoder) else MAX_SPECTRA)
    by_svd = dataclasses.replace(scorer, how=scorer.how | {"method": "auto"}, num_views=1, views=None)
    return np.concatenate([sigma for _, sigma in by_svd.rows(0, count) if sigma is not None])


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
        *pilot_options(a),
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
