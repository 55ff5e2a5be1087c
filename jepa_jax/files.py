"""Atomic writes, so that a file under its final name is never incomplete."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from jepa_jax.errors import ConfigError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and move the written file to `path`; on failure delete the temporary file.

    The temporary file is in the same folder and keeps the suffix, from which writers derive the format. Its name has
    the number of the process, so that two that write the same file do not meet.
    """
    temporary = path.with_name(f".{path.stem}.tmp-{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_directory(path: Path) -> None:
    """Create a folder and check that files can be written in it.

    Raises:
      ConfigError: If the folder cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write in {path}: {error.strerror}; name another folder with `out`") from None
