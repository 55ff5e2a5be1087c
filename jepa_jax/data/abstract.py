"""Sources with the shapes of their data but without values, for a dry run."""

import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jepa_jax import config as cfg
from jepa_jax.data.arrow_datasets import has_images, is_saved
from jepa_jax.data.build import is_stream, open_source
from jepa_jax.data.in_memory import from_samples
from jepa_jax.data.installed import INSTALLED
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import Source
from jepa_jax.data.streaming import stream_source
from jepa_jax.data.tables import is_table
from jepa_jax.errors import ConfigError, first_line
from jepa_jax.worlds import WORLDS


def abstract_source(data: cfg.Data) -> Source:
    """Open a source as `open_source` does, but read no more of an array file than its header.

    Raises:
      ConfigError: If the shape of a sample cannot be found in this way, or as in `open_source`.
    """
    if data.source in WORLDS or data.source == "digits" or data.source in INSTALLED or is_table(data.source):
        return open_source(data)  # generated, distributed with a package, or small
    if is_saved(data.source) and not has_images(data.source):
        return open_source(data)  # columns of numbers, which are small too
    path = Path(data.source)
    if path.suffix in (".npy", ".npz"):
        shape, dtype = _header(path)
        if len(shape) < 2:
            raise ConfigError(f"{path}: x has shape {list(shape)}; samples go on the first axis, [N, ...]")
        if is_stream(data) and data.size is None:
            return stream_source(data, shape[1:], jnp.zeros(()), jnp.ones(()), dtype)
        if not is_stream(data):
            rows = min(data.batch_size, shape[0])
            # One batch is enough: no other samples pass through the networks. Its values matter only in that they vary.
            x = np.random.default_rng(0).random((rows, *shape[1:]), np.float32)
            return from_samples(Samples(x), data)
    if data.size is None:
        raise ConfigError(f"a dry run does not read {data.source}; set the side of its images with `data.size`")
    return stream_source(data, (data.size, data.size, data.channels), jnp.zeros(()), jnp.ones(()), np.uint8)


def _header(path: Path) -> tuple[tuple[int, ...], Any]:
    """Return the shape and the type of the samples of an array file.

    Raises:
      ConfigError: If the file cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return _array_header(file)
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as file:
            return _array_header(file)
    except Exception as error:  # a damaged file raises many types of exceptions in NumPy and in zipfile
        raise ConfigError(f"{path} cannot be read as a NumPy file: {first_line(error)}") from None


def _array_header(file: Any) -> tuple[tuple[int, ...], Any]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
