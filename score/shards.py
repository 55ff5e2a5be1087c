"""The rows of a table on disk while it grows: shards that a crash does not lose, from one process or several."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


class Shards:
    """Hidden files beside FILE.csv, each with consecutive rows from the one it is named by.

    A file is a line with a digest of `identity`, then records of fixed length. It is `.shard` while it grows, and
    `.done` when nobody will write to it again. Rows of another identity do not count.
    """

    def __init__(self, out: Path, record: np.dtype[Any], identity: dict[str, Any], total: int) -> None:
        self.out, self.record, self.total = out, record, total
        text = json.dumps([identity, record.descr, total], sort_keys=True)
        self._mark = hashlib.sha256(text.encode()).hexdigest().encode() + b"\n"
        self._lock = out.with_name(f".{out.name}.lock")

    def adopt(self, start: int, stop: int, unit: int) -> None:
        """Take over what earlier calls left in this share of the rows, which nobody else is writing to.

        Args:
          unit: rows that are computed together; what a crash left of fewer is computed anew, so that a call that goes
            on computes the same numbers.
        """
        for first, path in list(self._files()):
            if not start <= first < stop:
                continue
            rows = self._rows(path)
            if path.suffix == ".shard" and first + len(rows) < stop:
                rows = rows[: len(rows) // unit * unit]
            if not len(rows):
                path.unlink(missing_ok=True)
            elif path.suffix == ".shard":
                path.write_bytes(self._mark + rows.tobytes())
                os.replace(path, path.with_suffix(".done"))

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The ranges of rows, within this one, that no finished shard has."""
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
        """A new shard, whose first row is `start`."""
        path = self.out.with_name(f".{self.out.name}.{start:09d}.shard")
        path.write_bytes(self._mark)
        return Shard(path)

    def read(self) -> np.ndarray:
        """All rows, [total]. None may be missing."""
        rows = np.zeros(self.total, self.record)
        for first, path in self._files(".done"):
            found = self._rows(path)
            rows[first : first + len(found)] = found
        return rows

    def remove(self) -> None:
        """Delete all shards: the table is written."""
        for _, path in list(self._files()):
            path.unlink(missing_ok=True)

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Whether it is for this process to write the table: all rows are there, and no other process is at it.

        Decided by who can create the lock file, without a word between the processes. A lock that a dead process of
        this machine left does not count.
        """
        if self.missing(0, self.total) or not self._take_lock():
            yield False
            return
        try:
            yield not self.missing(0, self.total)  # another may have written it all since, and removed the shards
        finally:
            self._lock.unlink(missing_ok=True)

    def writer(self) -> str:
        """Who writes the table if this process does not, in words."""
        try:
            host, process = self._lock.read_text().split()
        except (FileNotFoundError, ValueError):
            return "another process, the last to finish,"
        return f"process {process} on {host} (if it is gone, delete {self._lock} and start again)"

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
            return False  # being written
        if host != socket.gethostname():
            return False
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _files(self, suffix: str = "") -> list[tuple[int, Path]]:
        """(first row, path) of each shard, in order."""
        pattern = re.compile(re.escape(f".{self.out.name}.") + r"(\d+)\.(shard|done)")
        found = ((pattern.fullmatch(path.name), path) for path in self.out.parent.iterdir())
        return sorted((int(match[1]), path) for match, path in found if match and path.name.endswith(suffix))

    def _rows(self, path: Path) -> np.ndarray:
        """The whole records of a shard; none where it is of another identity, or just gone."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        if not content.startswith(self._mark):
            return np.zeros(0, self.record)
        body = content[len(self._mark) :]
        return np.frombuffer(body[: len(body) // self.record.itemsize * self.record.itemsize], self.record)


class Shard:
    """One shard while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, rows: np.ndarray) -> None:
        """Add records."""
        with self._path.open("ab") as file:
            file.write(rows.tobytes())

    def finish(self) -> None:
        """Say that this shard is done: from now on its rows count."""
        os.replace(self._path, self._path.with_suffix(".done"))
