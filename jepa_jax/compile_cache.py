"""Persistent cache of compiled programs, so that the second run of a program starts at once."""

import os
import tempfile
from pathlib import Path

import jax

ENVIRONMENT_VARIABLE = "JEPA_JAX_COMPILE_CACHE"  # the value `off` disables the cache
MIN_COMPILE_SECONDS = 0.5  # a program that compiles faster is not worth a file


def enable(folder: Path | None = None) -> Path | None:
    """Save the programs that this process compiles, and use those that earlier processes saved.

    Call this before anything is compiled. The cache is not used on CPU: there, jax 0.10.1 logs two errors for every
    program it loads, that the processor lacks `prefer-no-gather` and `prefer-no-scatter`, which are not instructions
    (jax-ml/jax#38445); the programs are loaded and run nevertheless.

    Args:
      folder: Folder of the cache; None uses the user's cache folder. Each version of JAX has its own subfolder.

    Returns:
      The folder of the programs; None on CPU, if the environment sets JEPA_JAX_COMPILE_CACHE=off, or if the folder
      cannot be written, which is not an error.
    """
    if os.environ.get(ENVIRONMENT_VARIABLE) == "off" or jax.default_backend() == "cpu":
        return None
    try:
        place = (folder or _user_folder()) / f"jax-{jax.__version__}"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except (OSError, RuntimeError):  # RuntimeError if there is no home directory
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # any size
    return place


def _user_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jepa_jax" / "xla"
