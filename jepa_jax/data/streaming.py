"""Images that are read during training: batches in the place of arrays, and fixed samples for evaluation."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.dataset import Dataset, Subset, is_held_out
from jepa_jax.data.image_folder import ImageFolder, passed_over_words
from jepa_jax.data.loader import Loader, LoaderOptions
from jepa_jax.data.prepared import PreparedImages
from jepa_jax.data.registry import Options, open_dataset
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import NOISE_FRACTION, Probe, Source, check_values, refuse_options, standardise
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing, Unreadable, centre_square
from jepa_jax.views import sample_keys

CHOICE_SEED = 20251009  # seed of the samples that `read_some` takes, the same for every run
STANDARDISING_IMAGES = 512  # images from which the mean and the scale of the input are computed
INVERSE_HIGH = np.float32(257 / 2**16)  # 1 / 255, rounded to nine bits
INVERSE_LOW = np.float32(1 / 255 - 257 / 2**16)  # remainder of 1 / 255


@dataclass(frozen=True)
class Stream:
    """Dataset of images that is read one epoch after the other.

    Attributes:
      shape: Shape of an image, [H, W, C].
      count: Number of samples of the dataset, over all processes.
      classes: Number of labels, which are 0 .. classes - 1; None without labels.
      samples: Samples of the dataset by their index.
      options: Options of the loader; a batch is at most as large as the dataset.
      notes: Sentences about the dataset that a user should know of.
    """

    shape: tuple[int, int, int]
    count: int
    classes: int | None
    samples: PreparedImages
    options: LoaderOptions
    notes: tuple[str, ...] = ()

    def batches(self) -> Loader:
        """Return a new loader, which starts at the beginning."""
        return Loader(self.samples, self.options)


def open_stream(spec: str, options: LoaderOptions) -> Stream:
    """Open the dataset of images that a spec names.

    Args:
      spec: Spec as in `open_dataset`.
      options: Options of the loader.

    Raises:
      ConfigError: If options are invalid, the name is unknown, the data cannot be read or are not images, or there are
        fewer samples than processes.
    """
    o = options
    for ok, message in (
        (o.batch_size >= 1, f"the batch size is {o.batch_size}; it must be positive"),
        (o.size is None or o.size >= 1, f"the size of images is {o.size}; it must be positive"),
        (o.workers >= 0, f"the number of workers is {o.workers}; it must not be negative"),
        (0 <= o.process < o.processes, f"process {o.process} of {o.processes}; processes are numbered from 0"),
        (
            o.batch_size % o.processes == 0,
            f"a batch of {o.batch_size} cannot be divided among {o.processes} processes; use a multiple",
        ),
    ):
        if not ok:
            raise ConfigError(message)
    images = _open_images(spec, o.channels, o.labels, o.max_pixels)
    others = images.passed_over if isinstance(images, ImageFolder) else {}
    notes = (f"files of {spec} that are no pictures{passed_over_words(others, ': ')}",) if others else ()
    dataset = _part(images, o.holdout, held=False)
    most = len(dataset) // o.processes * o.processes
    if not most:
        raise ConfigError(f"{spec} has {len(dataset)} images, fewer than the {o.processes} processes")
    o = replace(o, batch_size=min(o.batch_size, most))
    samples = PreparedImages(dataset, o.size, o.channels, o.preprocessing)
    height, width, channels = samples.shape
    return Stream((height, width, channels), len(dataset), dataset.classes, samples, o, notes)


def read_some(
    spec: str,
    count: int,
    *,
    size: int | None,
    channels: int = 3,
    labels: bool = False,
    holdout: float = 0.0,
    held: bool = False,
    preprocessing: Preprocessing | None = None,
    max_pixels: int | None = None,
) -> dict[str, np.ndarray]:
    """Read a fixed random choice of at most `count` readable samples of a dataset of images, for probes.

    Args:
      spec: Spec as in `open_dataset`.
      count: Maximum number of samples.
      size: Side in pixels, as in `LoaderOptions`.
      channels: Number of channels, as in `LoaderOptions`.
      labels: Whether missing labels are an error, as in `LoaderOptions`.
      holdout: Fraction of the samples that is kept out, as in `LoaderOptions`.
      held: Take samples that `holdout` keeps out of the stream, instead of samples of the stream.
      preprocessing: Recipe with another resize and crop than those of `size`, as in `LoaderOptions`.
      max_pixels: Maximum number of pixels of an image file, as in `LoaderOptions`.

    Returns:
      Batch in the form of a stream's batches, in the order of the dataset.

    Raises:
      ConfigError: As in `open_stream`.
    """
    images = _part(_open_images(spec, channels, labels, max_pixels), holdout, held)
    samples = PreparedImages(images, size, channels, preprocessing)

    def read(number: int) -> dict[str, Any] | None:
        try:
            return samples.read(number)
        except Unreadable:
            return None

    found: list[dict[str, Any]] = []
    numbers = iter(np.random.default_rng(CHOICE_SEED).permutation(len(samples)).tolist())
    with ThreadPoolExecutor() as pool:
        while missing := list(islice(numbers, count - len(found))):
            found += [sample for sample in pool.map(read, missing) if sample is not None]
    found.sort(key=lambda sample: sample["index"])
    return {name: np.stack([sample[name] for sample in found]) for name in found[0]}


def preprocessing_of(data: cfg.Data, shape: tuple[int, ...]) -> Preprocessing | None:
    """Return the preprocessing that brings pictures to the shape of the samples; None if they already have it.

    Args:
      data: Data section of the config.
      shape: Shape of a sample.
    """
    if data.size is None or shape[:2] != (data.size, data.size) or len(shape) != 3:
        return None
    return centre_square(data.size, shape[2])


def from_stream(
    data: cfg.Data, seed: int, process: int, processes: int, preprocessing: Preprocessing | None = None
) -> Source:
    """Make a source of a dataset that is read during training.

    Args:
      data: Data section of the config.
      seed: Seed of the order of the samples.
      process: Index of this process, which reads a share of every batch.
      processes: Number of processes.
      preprocessing: Recipe with another resize and crop than those of `data.size`, or None.

    Raises:
      ConfigError: If the dataset cannot be read, or does not have an option.
    """
    part: dict[str, Any] = {"process": process, "processes": processes, "holdout": data.holdout}
    form: dict[str, Any] = {
        "size": data.size,
        "channels": data.channels,
        "preprocessing": preprocessing,
        "max_pixels": data.max_pixels,
    }
    options = LoaderOptions(data.batch_size, seed, workers=data.workers, **part, **form)
    stream = open_stream(data.source, options)
    if stream.count < 2:
        raise ConfigError(f"{data.source} leaves {stream.count} images to train on; training needs at least 2")
    data, read = replace(data, batch_size=stream.options.batch_size), partial(read_some, **form)

    def some(n: int, held: bool) -> dict[str, np.ndarray]:
        if held and data.probe_source:
            found = read(data.probe_source, n)
        else:
            found = read(data.source, n, holdout=data.holdout, held=held and data.holdout > 0)
        if found["x"].shape[1:] != stream.shape:
            raise ConfigError(
                f"{data.probe_source} has images of shape {list(found['x'].shape[1:])}, and {data.source} of "
                f"{list(stream.shape)}; set `data.size`"
            )
        return found

    def probe(n: int) -> Probe:
        found = some(n, held=True)
        truth = found.get("log_density")
        return Probe(
            pixels(found["x"]), None if truth is None else jnp.asarray(truth), label=jnp.asarray(found["label"])
        )

    def labelled(n: int) -> tuple[np.ndarray, np.ndarray]:
        found = some(n, held=False)
        known = found["label"] >= 0
        return found["x"][known], found["label"][known]

    first = some(STANDARDISING_IMAGES, held=False)["x"]
    check_values(np.asarray(pixels(first)), data.source)
    source = stream_source(data, stream.shape, *standardise(pixels(first)), first.dtype)
    judged = stream.classes is not None and bool(data.probe_source or data.holdout)
    return replace(
        source, probe=probe, labelled=labelled if judged else None, batches=stream.batches, notes=stream.notes
    )


def stream_source(data: cfg.Data, shape: tuple[int, ...], mean: Array, scale: Array, dtype: Any) -> Source:
    """Make a source for a training step on a stream of images, without samples for evaluation.

    Args:
      data: Data section of the config.
      shape: Shape of an image, [H, W, C].
      mean: Mean that standardises the images.
      scale: Scale that standardises the images.
      dtype: Type of the images.

    Raises:
      ConfigError: If a stream does not have an option.
    """
    refuse_options(data, shape)
    if data.noise == "local":
        raise ConfigError("`data.noise` local needs vectors in memory; give a number, in the units of the pixels")
    if data.neighbours:
        raise ConfigError("`data.neighbours` needs samples in memory; set `data.stream` False")
    noise = NOISE_FRACTION * scale if data.noise is None else data.noise

    def draw(batch: Any, key: Array) -> tuple[dict[str, Array], Array]:
        _, view = jax.random.split(key)  # the first key would choose the samples, as it does for samples in memory
        return {"x": pixels(batch["x"])}, sample_keys(view, batch["index"])

    def probe(n: int) -> Probe:
        raise NotImplementedError(f"cannot read {n} samples: the stream was not opened")

    batch = {
        "x": jax.ShapeDtypeStruct((data.batch_size, *shape), dtype),
        "index": jax.ShapeDtypeStruct((data.batch_size,), jnp.uint32),
    }
    return Source(shape, noise, data.batch_size, mean, scale, batch, draw, probe)


def pixels(x: Any) -> Array:
    """Convert uint8 to numbers in [0, 1], bit for bit those that the host computes by dividing by 255.

    Floating-point numbers are returned unchanged.
    """
    x = jnp.asarray(x)
    if x.dtype != jnp.uint8:
        return x
    # Compilers replace a division by a constant with a multiplication by its rounded inverse. With the inverse in two
    # parts, the first product is exact, and the sum is rounded as the quotient would be.
    x = x.astype(jnp.float32)
    return x * INVERSE_HIGH + x * INVERSE_LOW


def _part(dataset: Dataset, holdout: float, held: bool) -> Dataset:
    """Return the part of a dataset that is trained on, or the part that is kept out of training."""
    if not holdout:
        return dataset
    kept_out = is_held_out(len(dataset), holdout)
    numbers = np.flatnonzero(kept_out if held else ~kept_out)
    if not len(numbers):
        raise ConfigError(
            f"{dataset.name}: a holdout of {holdout} of {len(dataset)} images leaves none; change `data.holdout`"
        )
    return Subset(dataset, numbers)


def _open_images(spec: str, channels: int, labels: bool, max_pixels: int | None) -> Dataset:
    """Open a dataset and check that its samples are images, with labels if these are requested."""
    dataset = open_dataset(spec, Options(channels, keep_bytes=True, max_pixels=max_pixels))
    if isinstance(dataset, Samples):
        shape = list(dataset.x.shape[1:])
        if len(shape) != 3:
            raise ConfigError(
                f"{spec}: a sample has shape {shape}; a stream needs images, x [N, H, W, C]; "
                "to hold other samples in memory, set `data.stream` False"
            )
        beside = [name for name in ("condition", "held_out", "row_features") if getattr(dataset, name) is not None]
        if beside:
            raise ConfigError(
                f"{spec} has {' and '.join(beside)}, which a stream does not read; set `data.stream` False"
            )
        if dataset.pair is not None:
            raise ConfigError(f"{spec} has pairs, but a stream reads single images; leave out the array named pair")
    if labels and dataset.classes is None:
        raise ConfigError(
            f"{spec} has no labels; they are the first level of folders in a folder, or the array label [N] in an .npz"
        )
    return dataset
