"""One grammar for data: a name or a path to something that makes pairs of views, probes and samples."""

import os
from pathlib import Path

import numpy as np

from jepa_jax import config as cfg
from jepa_jax.data.arrays import Samples, read_arrays, read_digits
from jepa_jax.data.folder import Images
from jepa_jax.data.rows import from_samples
from jepa_jax.data.source import Source
from jepa_jax.data.streamed import from_stream
from jepa_jax.data.tfds import PREFIX
from jepa_jax.data.world_source import from_world, make_world, world_probe
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.worlds import WORLDS

SCORE_SEED = 20251008  # of the samples of a world that score draws: none that a monitor has looked at
STREAMED_BYTES = 2**30  # an array file above this is read as training goes


def open_source(data: cfg.Data, seed: int = 0, process: int = 0, processes: int = 1) -> Source:
    """The source a config names.

    Args:
      seed: of the order in which a stream is read.
      process, processes: which of how many read a share of every batch of a stream.

    Raises:
      ConfigError: an unknown name, an unreadable file, or an option the source does not have.
    """
    if data.source in WORLDS:
        return from_world(make_world(data), data)
    if is_stream(data):
        return from_stream(data, seed, process, processes)
    if data.probe_source:
        raise ConfigError("--data.probe-source is for streams; take --data.holdout, or --data.stream True")
    return from_samples(_read(data.source), data)


def is_stream(data: cfg.Data) -> bool:
    """Whether images are read as training goes.

    Raises:
      ConfigError: they have to be, and may not.
    """
    path = Path(data.source)
    needed = data.source.startswith(PREFIX) or (data.source not in ("", "digits") and path.is_dir())
    if needed and data.stream is False:
        raise ConfigError(f"{data.source} is only read as a stream; leave out --data.stream")
    if data.stream is not None:
        return data.stream
    return needed or (path.suffix in (".npy", ".npz") and path.is_file() and path.stat().st_size > STREAMED_BYTES)


def read_samples(
    spec: str, limit: int | None, world_count: int = 10_000, *, preprocessing: Preprocessing | None = None
) -> Samples:
    """Samples to score, by the data grammar; of a world, `limit` (or `world_count`) fresh ones.

    Args:
      preprocessing: what the images of a folder go through; None for an encoder that takes no images. Arrays are taken
        as they are.

    Raises:
      ConfigError: as `open_source`, or a folder without images, or without a recipe for them.
    """
    if spec in WORLDS:
        probe, states = world_probe(WORLDS[spec](), limit or world_count, SCORE_SEED)
        tangent = None if probe.tangent is None else np.asarray(probe.tangent)
        return Samples(np.asarray(probe.x), np.asarray(probe.log_density), states=np.asarray(states), tangent=tangent)
    if spec != "digits" and Path(spec).is_dir():
        if preprocessing is None:
            raise ConfigError(f"{spec} is a folder of images, and this encoder takes no images")
        images = Images(Path(spec), preprocessing, limit)
        return Samples(images, ids=np.array([_printable(name) for name in images.names]))
    samples = _read(spec)
    if limit is None:
        return samples
    cut = {k: v[:limit] for k, v in vars(samples).items() if v is not None}
    return Samples(**cut)


def _printable(name: str) -> str:
    """A file's name as text that any file can hold, also where its bytes are no UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _read(spec: str) -> Samples:
    if not spec:
        raise ConfigError("this config needs your data: --data.source FILE.npy or FILE.npz")
    if spec == "digits":
        return read_digits()
    path = Path(spec)
    if path.suffix in (".npy", ".npz"):
        return read_arrays(path)
    if spec.startswith(PREFIX):
        raise ConfigError(f"{spec}: tfds: sources are for training; save the samples as .npz to score them")
    raise ConfigError(f"unknown data {spec!r}: not a world, digits, a .npy, a .npz or a folder{nearest(spec, WORLDS)}")
