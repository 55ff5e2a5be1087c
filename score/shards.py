"""Shards: the rows of a growing table on disk, which survive a crash and may come from several processes."""

import hashlib
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.files import write_atomically

MAX_KEPT_BYTES = 2**28  # of rows and spectra beside a finished table


class Shards:
    """Hidden files beside FILE.csv, each with consecutive rows from the one in its name.

    A file contains a line with a digest of the identity, followed by records of fixed length. Its suffix is `.shard`
    while it grows, after the number of the process that writes it, and `.done` once it is complete. Rows with another
    identity are ignored. A finished table keeps its rows in one such file, so that a later call for a report or for
    another comparison scores nothing again.
    """

    def __init__(self, out: Path, record: np.dtype[Any], identity: dict[str, Any], total: int) -> None:
        """Describe the shards of a table.

        Args:
          out: Path of the table.
          record: Data type of a row.
          identity: All that determines the rows, as JSON.
          total: Number of rows.
        """
        self.out, self.record, self.total = out, record, total
        text = json.dumps([identity, record.descr, total], sort_keys=True)
        self._mark = hashlib.sha256(text.encode()).hexdigest().encode() + b"\n"
        self._lock = out.with_name(f".{out.name}.lock")

    def adopt(self, start: int, stop: int, unit: int) -> None:
        """Take over the shards of earlier calls in a share of the rows that no other process is writing.

        Args:
          start: First row of the share.
          stop: One past its last row.
          unit: Number of rows that are computed together. A smaller remainder after a crash is computed again, so that
            a continued call computes the same numbers.
        """
        for first, path in list(self._files()):
            if not start <= first < stop or _is_written(path):
                continue
            rows = self._rows(path)
            if path.suffix == ".shard" and first + len(rows) < stop:
                rows = rows[: len(rows) // unit * unit]
            if not len(rows):
                path.unlink(missing_ok=True)
            elif path.suffix == ".shard":
                path.write_bytes(self._mark + rows.tobytes())
                os.replace(path, self._done(first))

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the ranges of rows within start..stop that no complete shard contains."""
        gaps, at = [], start
        for first, path in self._files(".done"):
            last = first + len(self._rows(path))
            if first > at:
                gaps.append((at, min(first, stop)))
            at = max(at, last)
            if at >= stop:
                break
        return [gap for gap in (*gaps, (at, stop)) if gap[0] < gap[1]]

    def begin(self, start: int) -> "Shard":
        """Create a shard whose first row is `start`."""
        path = self.out.with_name(f".{self.out.name}.{start:09d}.{os.getpid()}.shard")
        path.write_bytes(self._mark)
        return Shard(path, self._done(start))

    def count(self, start: int, stop: int) -> int:
        """Return the number of rows on disk, complete or growing, in shards that begin within start..stop."""
        rows = 0
        for first, path in self._files():
            with suppress(FileNotFoundError):  # it was just completed
                rows += max(0, path.stat().st_size - len(self._mark)) // self.record.itemsize * (start <= first < stop)
        return rows

    def read(self) -> np.ndarray:
        """Return all rows [total], none of which may be missing."""
        rows = np.zeros(self.total, self.record)
        for first, path in self._files(".done"):
            found = self._rows(path)
            rows[first : first + len(found)] = found
        return rows

    def kept(self, count: int) -> np.ndarray | None:
        """Return the rows [count] that a finished table of any identity keeps, or None if they are not as many."""
        try:
            body = self._done(0).read_bytes().partition(b"\n")[2]
        except FileNotFoundError:
            return None
        return np.frombuffer(body, self.record) if len(body) == count * self.record.itemsize else None

    def insert(self, rows: np.ndarray, known: np.ndarray) -> None:
        """Add those of the rows [total] that are known, in place of what a finished table keeps."""
        self._done(0).unlink(missing_ok=True)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
        for first, last in edges.reshape(-1, 2).tolist():
            path = self._done(first)
            write_atomically(path, lambda p, some=rows[first:last]: p.write_bytes(self._mark + some.tobytes()))

    def keep(self, rows: np.ndarray, sigma: np.ndarray) -> None:
        """Keep all rows in one file, and the singular values [n, R] that the pictures show.

        This comes after the table was written. If they are large, nothing is kept.
        """
        small = rows.nbytes + sigma.nbytes <= MAX_KEPT_BYTES
        if small:
            whole = self.out.with_name(f".{self.out.name}.whole-{os.getpid()}")
            whole.write_bytes(self._mark + rows.tobytes())
            os.replace(whole, self._done(0))
            write_atomically(
                self._shown, lambda path: np.savez(path, sigma=sigma, mark=np.frombuffer(self._mark, "u1"))
            )
        for _, path in list(self._files()):
            if not (small and path == self._done(0)) and not _is_written(path):
                path.unlink(missing_ok=True)

    def shown(self) -> np.ndarray | None:
        """Return the singular values that `keep` kept; None if there are none of this identity."""
        try:
            with np.load(self._shown, allow_pickle=False) as kept:
                return kept["sigma"] if kept["mark"].tobytes() == self._mark else None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    @property
    def _shown(self) -> Path:
        return self.out.with_name(f".{self.out.name}.spectra.npz")

    def _done(self, first: int) -> Path:
        return self.out.with_name(f".{self.out.name}.{first:09d}.done")

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Decide whether this process writes the table: all rows exist, and no other process is writing it.

        The processes do not communicate; the one that creates the lock file writes. A lock file of a process of this
        machine that has ended is removed.

        Returns:
          A context whose value is the decision, and which holds the lock.
        """
        if self.missing(0, self.total) or not self._take_lock():
            yield False
            return
        try:
            yield not self.missing(0, self.total)  # another process may have written it and removed the shards
        finally:
            self._lock.unlink(missing_ok=True)

    def writer(self) -> str:
        """Describe the process that writes the table if this one does not."""
        try:
            host, process = self._lock.read_text().split()
        except (FileNotFoundError, ValueError):
            return "another process, the last to finish,"
        return f"process {process} on {host} (if it has ended, delete {self._lock} and start again)"

    def _take_lock(self) -> bool:
        for _ in range(2):
            try:
                handle = os.open(self._lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                if not self._abandoned():
                    return False
                self._lock.unlink(missing_ok=True)
                continue
            with os.fdopen(handle, "w") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
            return True
        return False

    def _abandoned(self) -> bool:
        try:
            host, process = self._lock.read_text().split()
        except FileNotFoundError:
            return True
        except ValueError:
            return False  # the file is being written
        if host != socket.gethostname():
            return False
        return not is_alive(int(process))

    def _files(self, suffix: str = "") -> list[tuple[int, Path]]:
        """Return (first row, path) of each shard, in the order of the rows."""
        pattern = re.compile(re.escape(f".{self.out.name}.") + r"(\d+)\.(\d+\.shard|done)")
        found = ((pattern.fullmatch(path.name), path) for path in self.out.parent.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match and path.name.endswith(suffix))

    def _rows(self, path: Path) -> np.ndarray:
        """Return the complete records of a shard; none if it has another identity or was just deleted."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        if not content.startswith(self._mark):
            return np.zeros(0, self.record)
        body = content[len(self._mark) :]
        return np.frombuffer(body[: len(body) // self.record.itemsize * self.record.itemsize], self.record)


class Shard:
    """Shard that is being written."""

    def __init__(self, path: Path, done: Path) -> None:
        self._path, self._done = path, done

    def append(self, rows: np.ndarray) -> None:
        """Append records."""
        with self._path.open("ab") as file:
            file.write(rows.tobytes())

    def finish(self) -> None:
        """Mark the shard as complete; only then its rows count."""
        os.replace(self._path, self._done)


def _is_written(path: Path) -> bool:
    """Return whether another process of this machine is still writing a shard."""
    process = path.suffixes[-2].lstrip(".") if path.suffix == ".shard" else ""
    return process.isdigit() and int(process) != os.getpid() and is_alive(int(process))


def is_alive(process: int) -> bool:
    """Return whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
