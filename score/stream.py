"""Scoring a data set row by row into a file that a crash does not lose."""

import csv
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.data import Samples
from jepa_jax.density import default_batch_size, log_law, score_batches
from jepa_jax.density.jacobian import Mode
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically

COLUMNS = ("id", "score", "log_density", "clipped")


@dataclass(frozen=True)
class Options:
    """What changes the numbers, or how they are computed."""

    eps: float
    mode: Mode
    chunk: int | None
    batch_size: int | None


@dataclass(frozen=True)
class Scored:
    """Attributes:
    score, log_density: [N] in nats, NaN where there is none.
    clipped: [N].
    singular_values: [N, R] if they were asked for.
    seconds: spent on `fresh` samples in this call; the rest were there from before.
    """

    score: np.ndarray
    log_density: np.ndarray
    clipped: np.ndarray
    singular_values: np.ndarray | None
    seconds: float
    fresh: int


def score_file(
    encoder: Encoder,
    samples: Samples,
    options: Options,
    out: Path,
    spectra: Path | None,
    identity: dict[str, Any],
    advance: Callable[[int], None],
) -> Scored:
    """Score samples into a CSV file, going on from where an earlier call with the same `identity` was cut off.

    Rows go to a hidden part file as they come; the final names appear only when all is there.

    Args:
      identity: what must be the same for the rows of an earlier call to count.
      advance: called with the number of samples done so far.
    """
    xs = samples.x
    size = options.batch_size or default_batch_size(len(xs), int(np.prod(xs.shape[1:])), encoder.dim)
    rank = min(encoder.dim, int(np.prod(xs.shape[1:])))
    part = Part(out, rank if spectra else 0, {**identity, "batch_size": size, "spectra": bool(spectra)})
    done = part.rows // size * size  # whole batches, so that a resumed run computes the same numbers
    part.keep(done)
    advance(done)
    started, first, ids = time.perf_counter(), done, row_ids(samples)
    batches = score_batches(encoder, xs[done:], options.eps, mode=options.mode, chunk=options.chunk, batch_size=size)
    for batch in batches if done < len(xs) else ():
        law = log_law(batch.embedding, encoder.law)
        score = np.asarray(batch.score)
        log_density = np.full(len(score), np.nan) if law is None else score + np.asarray(law)
        part.append(ids[done : done + len(score)], score, log_density, batch.clipped, batch.singular_values)
        done += len(score)
        advance(done)
    seconds = time.perf_counter() - started
    score, log_density, clipped = part.columns()
    sigma = None
    if spectra is not None:
        sigma = part.spectra()
        write_atomically(spectra, lambda path: np.savez(path, singular_values=sigma, id=ids))
    part.finish()
    return Scored(score, log_density, clipped, sigma, seconds, done - first)


def row_ids(samples: Samples) -> np.ndarray:
    """The id column: the samples' own, or row numbers."""
    return np.arange(len(samples.x)) if samples.ids is None else samples.ids


class Part:
    """The rows so far of one CSV file, and beside it their singular values as raw float32.

    The first line of the part file is a digest of the identity: rows of other arguments are thrown away.
    """

    def __init__(self, out: Path, rank: int, identity: dict[str, Any]) -> None:
        self.out, self.rank = out, rank
        self._csv, self._raw = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.spectra.part")
        self._mark = "#" + hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest() + "\n"
        self.rows = self._count()

    def _count(self) -> int:
        if not self._csv.exists():
            return 0
        with self._csv.open() as file:
            if file.readline() != self._mark:
                return 0
            rows = max(0, sum(line.endswith("\n") for line in file) - 1)  # less the header
        if self.rank:
            whole = self._raw.stat().st_size // (4 * self.rank) if self._raw.exists() else 0
            rows = min(rows, whole)
        return rows

    def keep(self, rows: int) -> None:
        """Cut both files to their first `rows` rows, and open them for more."""
        lines: list[str] = []
        if rows:
            with self._csv.open() as file:
                lines = file.readlines()[2 : rows + 2]
        self._csv.write_text(self._mark + ",".join(COLUMNS) + "\n" + "".join(lines))
        if self.rank:
            with self._raw.open("ab") as file:
                file.truncate(4 * self.rank * rows)

    def append(self, ids: Any, score: Any, log_density: Any, clipped: Any, sigma: Any) -> None:
        """Add a batch of rows. What is not finite is left empty."""
        if self.rank:
            with self._raw.open("ab") as file:
                file.write(np.asarray(sigma, np.float32).tobytes())
        with self._csv.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for row in zip(ids, score, log_density, np.asarray(clipped), strict=True):
                writer.writerow([row[0], number(row[1]), number(row[2]), row[3]])

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """score, log_density and clipped, [N] each."""
        with self._csv.open(newline="") as file:
            file.readline()
            rows = list(csv.DictReader(file))
        score, log_density = (np.array([float(r[name] or "nan") for r in rows]) for name in COLUMNS[1:3])
        return score, log_density, np.array([int(r["clipped"]) for r in rows])

    def spectra(self) -> np.ndarray:
        """Singular values, [N, R]."""
        return np.fromfile(self._raw, np.float32).reshape(-1, self.rank)

    def finish(self) -> None:
        """Give the CSV its final name, and remove the rest."""
        text = self._csv.read_text()[len(self._mark) :]
        write_atomically(self.out, lambda path: path.write_text(text))
        self._csv.unlink()
        self._raw.unlink(missing_ok=True)


def number(value: Any) -> str:
    """A finite number to the digits float32 holds, or nothing."""
    return f"{float(value):.9g}" if np.isfinite(value) else ""
