"""Compiled programs that outlive the process, so that the second run of a program starts at once."""

import os
import tempfile
from pathlib import Path

import jax

VARIABLE = "JEPA_JAX_COMPILE_CACHE"  # off: no cache
SMALLEST_SECONDS = 0.5  # what compiles faster is not worth a file


def enable(folder: Path | None = None) -> Path | None:
    """Keep what this process compiles, and use what earlier ones left. Call it before anything is compiled.

    Not on CPU: jax 0.10.1 logs two errors for every program it loads there, that the processor lacks `prefer-no-gather`
    and `prefer-no-scatter`, which are no instructions (jax-ml/jax#38445); the programs are loaded and run all the same.

    Args:
      folder: None takes the user's cache folder. In it, each version of jax has its own.

    Returns:
      Where the programs are kept; None on CPU, where the environment says JEPA_JAX_COMPILE_CACHE=off, or where the
      folder cannot be written, which is no error.
    """
    if os.environ.get(VARIABLE) == "off" or jax.default_backend() == "cpu":
        return None
    try:
        place = (folder or _user_folder()) / f"jax-{jax.__version__}"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SMALLEST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # of any size
    return place


def _user_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jepa_jax" / "xla"
