"""Opening the source that a config names, and reading the samples to score, with the same grammar and readers."""

from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax import config as cfg
from jepa_jax.data.arrays import numbers
from jepa_jax.data.arrow_datasets import ArrowImages, image_column, is_dataset, named_labels, table_of
from jepa_jax.data.image_folder import ImageFolder
from jepa_jax.data.in_memory import from_samples
from jepa_jax.data.lazy_images import LazyImages
from jepa_jax.data.offsets import automatic_offset, centred
from jepa_jax.data.prepared import PreparedImages
from jepa_jax.data.registry import Options, find_reader, open_dataset
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import Source
from jepa_jax.data.streaming import from_stream
from jepa_jax.data.synthetic import from_world, make_world, world_samples
from jepa_jax.data.tables import Schema, from_arrow, from_frame, is_frame, is_table, schema_of
from jepa_jax.data.tfds import TfdsDataset
from jepa_jax.errors import ConfigError, first_line
from jepa_jax.images import Preprocessing, Unreadable
from jepa_jax.worlds import WORLDS

STREAM_THRESHOLD_BYTES = 2**30  # larger array files are read during training
WORLD_SAMPLE_COUNT = 10_000  # samples of a world that are scored without a limit


def open_source(
    data: cfg.Data,
    seed: int = 0,
    process: int = 0,
    processes: int = 1,
    preprocessing: Preprocessing | None = None,
) -> Source:
    """Open the source that a config names.

    Args:
      data: Data section of the config.
      seed: Seed of the order in which a stream is read.
      process: Index of this process, which reads a share of every batch of a stream.
      processes: Number of processes.
      preprocessing: Recipe for the resize and the crop of streamed images, in place of that of `data.size`; or None.

    Raises:
      ConfigError: If the name is unknown, a file cannot be read, or the source does not have an option.
    """
    if data.source in WORLDS:
        return from_world(make_world(data), data)
    if is_stream(data):
        return from_stream(data, seed, process, processes, preprocessing)
    if data.probe_source:
        raise ConfigError("`data.probe_source` is for streams; use `data.holdout`, or set `data.stream` True")
    schema = schema_of(data)._replace(offset=data.offset or None)
    samples = open_dataset(data.source, Options(schema=schema))
    assert isinstance(samples, Samples)
    return from_samples(samples, data)


def ignored_options(data: cfg.Data, source: Source) -> str | None:
    """Return a sentence that names the options of a config that have no effect on its source, or None."""
    if source.world is not None:
        names = ("shift", "holdout", "probe_source", "stream", "size", "channels", "max_pixels", "workers", "offset")
        why = "a world draws new samples in every step and for the probe set"
    elif source.batches is None:
        names = ("size", "channels", "max_pixels", "workers", *(() if source.offset else ("offset",)))
        why = "its samples are held in memory as they are"
    else:
        return None
    default = cfg.Data()
    found = [name for name in names if getattr(data, name) not in (getattr(default, name), False)]
    if not found:
        return None
    return f"{', '.join(f'`data.{name}`' for name in found)} has no effect on {data.source or 'an array'}: {why}"


def is_stream(data: cfg.Data) -> bool:
    """Return whether images are read during training.

    Raises:
      ConfigError: If the source can only be read in this way, but `data.stream` forbids it.
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
    return not is_table(data.source) and path.is_file() and path.stat().st_size > STREAM_THRESHOLD_BYTES


def read_samples(
    spec: str,
    limit: int | None,
    *,
    preprocessing: Preprocessing | None = None,
    max_pixels: int | None = None,
    schema: Schema | None = None,
) -> Samples:
    """Read samples to score, by the grammar of data; of a world, draw `limit` (or `WORLD_SAMPLE_COUNT`) new ones.

    Args:
      spec: Spec of the data, as in `data.source`.
      limit: Maximum number of samples; the first ones are taken.
      preprocessing: Preprocessing of the images of a folder or a TFDS dataset; None for an encoder that takes no
        images. Arrays are not preprocessed.
      max_pixels: Maximum number of pixels of an image file; None for that of the environment.
      schema: Choice of the input among the columns of a table; None for all columns of numbers.

    Raises:
      ConfigError: As in `open_source`, or if the samples are images and the encoder takes none.
    """
    if spec in WORLDS:
        return world_samples(spec, limit or WORLD_SAMPLE_COUNT)
    reader = find_reader(spec)
    if reader.streamed and preprocessing is None:
        raise ConfigError(f"{spec} is {reader.form}, but this encoder takes no images")
    channels = preprocessing.channels if preprocessing else 3
    dataset = open_dataset(spec, Options(channels, max_pixels=max_pixels, schema=schema or Schema()))
    if isinstance(dataset, Samples):
        return dataset if limit is None else dataset.first(limit)
    assert isinstance(dataset, ImageFolder | TfdsDataset | ArrowImages)
    assert preprocessing is not None
    images = LazyImages(dataset, preprocessing, limit)
    if not isinstance(dataset, ImageFolder):
        columns: dict[str, Any] = dict(dataset.columns(len(images)))
        return Samples(images, name=spec, **columns)
    ids = np.array([dataset.id(number) for number in range(len(images))])
    label = None if dataset.classes is None else np.array([dataset.folder(number) for number in range(len(images))])
    return Samples(images, ids=ids, label=label, name=spec, passed_over=dataset.passed_over)


def as_samples(
    x: Any,
    data: cfg.Data,
    preprocessing: Preprocessing | None = None,
    *,
    offset: tuple[float, ...] | None = (),
) -> Samples:
    """Return samples that a caller holds in memory: an array, a DataFrame, or a dataset of Hugging Face.

    Args:
      x: Array [N, ...] of any kind of numbers, uint8 being scaled to [0, 1]; or a DataFrame, whose columns are read as
        those of a table file; or a dataset of Hugging Face with columns of numbers, or with a column of images.
      data: Data section of the config, for the options of a table and the size of images.
      preprocessing: Recipe for the resize and the crop of the images of a dataset, in place of `data.size`; or None.
      offset: Number to subtract from each column of vectors in float64, () for none; None for `automatic_offset`.

    Raises:
      ConfigError: If they are no samples, as in `read_table` for a DataFrame, or an image cannot be read.
    """
    if is_dataset(x):
        return _dataset_samples(table_of(x), data, preprocessing, offset)
    if is_frame(x):
        return from_frame(x, schema_of(data)._replace(offset=offset))
    try:
        samples = np.asarray(x)
    except ValueError as error:  # rows of several lengths
        raise ConfigError(f"x should be one array of samples [N, ...]: {first_line(error)}") from None
    if samples.ndim < 2 or not samples.size:
        raise ConfigError(f"x should be samples [N, ...], not an array of shape {list(samples.shape)}")
    found = numbers(samples, "x", "fit")
    if offset is None:
        offset = automatic_offset(samples)
    return Samples(centred(samples, offset, "fit") if offset else found, name="x", offset=offset)


def _dataset_samples(
    table: Any, data: cfg.Data, preprocessing: Preprocessing | None, offset: tuple[float, ...] | None
) -> Samples:
    """Return the rows of an Arrow table as samples in memory; images are brought to `data.size`, as in a stream.

    Raises:
      ConfigError: As in `as_samples`.
    """
    name = "the dataset"
    if image_column(table.schema) is None:
        return from_arrow(named_labels(table), schema_of(data)._replace(offset=offset), name)
    channels = preprocessing.channels if preprocessing else data.channels
    images = ArrowImages(name, table, channels)
    prepared = PreparedImages(images, data.size, channels, preprocessing)
    try:
        x = np.stack([prepared.read(number)["x"] for number in range(len(prepared))])
    except Unreadable as error:
        raise ConfigError(f"{name}, row {error}; leave it out") from None
    label = images.columns(len(images)).get("label")
    return Samples(numbers(x, name, "fit"), label=label, name=name)
