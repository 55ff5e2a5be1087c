"""From a config to what a run trains on, and from a spec to what is scored: the same grammar, the same readers."""

from pathlib import Path

import numpy as np

from jepa_jax import config as cfg
from jepa_jax.data.dataset import Samples
from jepa_jax.data.image_folder import ImageFolder
from jepa_jax.data.in_memory import from_samples
from jepa_jax.data.lazy_images import LazyImages
from jepa_jax.data.registry import Options, find_reader, open_dataset
from jepa_jax.data.source import Source
from jepa_jax.data.streaming import from_stream
from jepa_jax.data.synthetic import from_world, make_world, world_samples
from jepa_jax.data.tfds import TfdsDataset
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing
from jepa_jax.worlds import WORLDS

STREAMED_BYTES = 2**30  # an array file above this is read as training goes
WORLD_COUNT = 10_000  # samples of a world that are scored unless a limit says otherwise


def open_source(data: cfg.Data, seed: int = 0, process: int = 0, processes: int = 1) -> Source:
    """The source that a config names.

    Args:
      data: the config's.
      seed: of the order in which a stream is read.
      process, processes: index of this process, which reads a share of every batch of a stream, and their number.

    Raises:
      ConfigError: an unknown name, an unreadable file, or an option the source does not have.
    """
    if data.source in WORLDS:
        return from_world(make_world(data), data)
    if is_stream(data):
        return from_stream(data, seed, process, processes)
    if data.probe_source:
        raise ConfigError("`data.probe_source` is for streams; take `data.holdout`, or `data.stream` True")
    samples = open_dataset(data.source)
    assert isinstance(samples, Samples)
    return from_samples(samples, data)


def is_stream(data: cfg.Data) -> bool:
    """Whether images are read as training goes.

    Raises:
      ConfigError: they have to be, and may not.
    """
    if data.source in WORLDS:
        return False
    if find_reader(data.source).streamed:
        if data.stream is False:
            raise ConfigError(f"{data.source} is only read as a stream; leave out `data.stream`")
        return True
    if data.stream is not None:
        return data.stream
    path = Path(data.source)
    return path.is_file() and path.stat().st_size > STREAMED_BYTES


def read_samples(spec: str, limit: int | None, *, preprocessing: Preprocessing | None = None) -> Samples:
    """Samples to score, by the data grammar; of a world, `limit` (or `WORLD_COUNT`) fresh ones.

    Args:
      spec: as `open_source` takes it as `data.source`.
      limit: take no more than the first ones.
      preprocessing: of the pictures of a folder or a TFDS data set; None for an encoder that takes no images. Arrays
        are taken as they are.

    Raises:
      ConfigError: as `open_source`, or images for an encoder that takes none.
    """
    if spec in WORLDS:
        return world_samples(spec, limit or WORLD_COUNT)
    reader = find_reader(spec)
    if reader.streamed and preprocessing is None:
        raise ConfigError(f"{spec} is {reader.form}, and this encoder takes no images")
    dataset = open_dataset(spec, Options(channels=preprocessing.channels if preprocessing else 3))
    if isinstance(dataset, Samples):
        return dataset if limit is None else dataset.first(limit)
    assert isinstance(dataset, ImageFolder | TfdsDataset)
    assert preprocessing is not None
    images = LazyImages(dataset, preprocessing, limit)
    if isinstance(dataset, TfdsDataset):
        return Samples(images, name=spec, **dataset.columns(len(images)))
    return Samples(images, ids=np.array([dataset.id(number) for number in range(len(images))]), name=spec)
