"""Processes of one core each that share the rows of a run on a CPU.

Some steps of a ViT's Jacobian use one core only, so that processes with a core each are faster together than one with
all cores: 1.34 times on two (`python -m benchmarks.score_speed --sizes vit_s_98 --peers listing`).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jepa_jax.errors import ConfigError, first_line
from jepa_jax.memory import available
from jepa_jax.progress import Pulse

from .options import Arguments
from .scorer import Scorer
from .shards import Shards
from .share import MAX_SPECTRA, progress, score_share

MIN_SAMPLES = 64  # a process, below which it would start and compile longer than it saves
SECONDS_PER_LOOK = 0.5
THREADS = ("NPROC", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # variables with their numbers
Work = Callable[[Arguments, int, int], np.ndarray | None]


def cores() -> list[int]:
    """Return the cores that this process may use."""
    known: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux only
    return sorted(known(0)) if known else list(range(os.cpu_count() or 1))


def number_of_workers(a: Arguments, scorer: Scorer, rows: int, *, large: bool) -> int:
    """Return the number of processes that score the rows: 1 for this process alone.

    Args:
      a: Arguments of the program.
      scorer: Scorer.
      rows: Number of rows that are missing.
      large: Whether a Jacobian is so large that a process of its own pays.

    Raises:
      ConfigError: If the arguments ask for processes that this device or this call cannot have.
    """
    platform = jax.default_backend()
    obstacles = (
        (platform != "cpu", f"are for a CPU, and this is a {platform.upper()}; leave --workers out"),
        (scorer.mesh is not None, "have one device each; take --devices 1, or leave --workers out"),
        (scorer.law is not None, "measure no law of the embeddings; take --law assumed, or leave --workers out"),
    )
    obstacle = next((reason for found, reason in obstacles if found), None)
    if a.workers is None:
        weights = sum(x.nbytes for x in jax.tree.leaves(scorer.encoder.params))
        room = available(platform)
        fits = room is None or len(cores()) * weights < room / 4
        alone = a.processes is None and not a.distributed and obstacle is None
        return len(cores()) if large and alone and fits and rows >= MIN_SAMPLES * len(cores()) else 1
    if a.workers > 1 and obstacle is not None:
        raise ConfigError(f"the processes of --workers {obstacle}")
    return min(a.workers, max(rows, 1))


def score_rows(
    a: Arguments,
    scorer: Scorer,
    shards: Shards,
    bounds: tuple[int, int],
    work: Work,
    console: Console,
    *,
    large: bool,
) -> tuple[float | None, np.ndarray | None]:
    """Score rows as `score_share` does, by several processes if that is faster.

    Args:
      a: Arguments of the program.
      scorer: Scorer.
      shards: Rows on disk.
      bounds: First row, and one past the last row.
      work: Function (arguments, index, number of processes) that scores the share of a process and returns singular
        values of it. It is imported in the process.
      console: Console for progress and warnings.
      large: As in `number_of_workers`.
    """
    start, stop = bounds
    shards.adopt(start, stop, scorer.unit)
    missing = sum(last - first for first, last in shards.missing(start, stop))
    count = number_of_workers(a, scorer, missing, large=large)
    if count < 2 or not missing:
        return score_share(scorer, shards, start, stop, console)
    began = time.perf_counter()
    spectra = _together(a, shards, bounds, missing, count, work, console)
    rest = score_share(scorer, shards, start, stop, console)[1]  # of a process that failed
    spectra += [] if rest is None else [rest]
    return (time.perf_counter() - began) / missing, np.concatenate(spectra)[:MAX_SPECTRA] if spectra else None


def _together(
    a: Arguments,
    shards: Shards,
    bounds: tuple[int, int],
    missing: int,
    count: int,
    work: Work,
    console: Console,
) -> list[np.ndarray]:
    """Run `work` in processes, and return the singular values that they return."""
    total = bounds[1] - bounds[0]
    pulse, context = Pulse(console, 0, missing, "sample"), get_context("spawn")
    stop = context.Event()
    with (
        one_thread_each(),
        ProcessPoolExecutor(count, context, _end_with, (os.getpid(), stop)) as pool,
        progress(console) as bar,
        _set_by_failure(stop),
    ):
        task = bar.add_task(f"scoring in {count} processes", total=total, completed=total - missing)
        places = cores()
        running: list[Future[np.ndarray | None]] = [
            pool.submit(_work_on_core, work, a, index, count, places[index % len(places)]) for index in range(count)
        ]
        waiting: set[Any] = set(running)
        while waiting:
            waiting = wait(waiting, SECONDS_PER_LOOK).not_done
            done = shards.count(*bounds)
            bar.update(task, completed=done)
            fresh = done - (total - missing)
            if fresh > 0:
                pulse.beat(fresh)
        found = []
        for future in running:
            try:
                found.append(future.result())
            except (BrokenProcessPool, MemoryError, RuntimeError, OSError) as error:
                console.print(f"warning: a process failed ({first_line(error)}); this one goes on", markup=False)
    return [spectra for spectra in found if spectra is not None]


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let XLA and the libraries for linear algebra of processes that start meanwhile have one thread.

    They read their numbers when they are loaded. Two threads of OpenBLAS on one core wait for each other by spinning.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def keep_to(core: int) -> None:
    """Restrict this process, which started in `one_thread_each`, to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def _work_on_core(work: Work, a: Arguments, index: int, count: int, core: int) -> np.ndarray | None:
    keep_to(core)
    return work(a, index, count)


@contextmanager
def _set_by_failure(stop: Event) -> Iterator[None]:
    """Set an event if the context ends by an exception, such as an interruption."""
    try:
        yield
    except BaseException:
        stop.set()
        raise


def _end_with(parent: int, stop: Event) -> None:
    """Let this process end once `stop` is set or the process that started it has ended; the rows on disk remain."""

    def watch() -> None:
        while not stop.wait(SECONDS_PER_LOOK) and os.getppid() == parent:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
