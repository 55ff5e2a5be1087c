"""A stream of images as a source: batches in the place of arrays, and fixed samples to look at."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.batches import StreamOptions
from jepa_jax.data.source import NOISE_FRACTION, Probe, Source, pairs, refuse_options, standardise
from jepa_jax.data.stream import open_stream, read_some
from jepa_jax.errors import ConfigError

INVERSE_HIGH = np.float32(257 / 2**16)  # 1 / 255 to nine bits
INVERSE_LOW = np.float32(1 / 255 - 257 / 2**16)
STANDARDISED = 512  # images by which the input is standardised


def from_stream(data: cfg.Data, seed: int, process: int, processes: int) -> Source:
    """A data set that is read as training goes.

    Args:
      seed: of its order.
      process, processes: which of how many read a share of every batch.

    Raises:
      ConfigError: it cannot be read, or an option that it does not have.
    """
    options = StreamOptions(
        data.batch_size, seed, data.size, data.workers, process, processes, data.channels, holdout=data.holdout
    )
    stream = open_stream(data.source, options)
    data = replace(data, batch_size=stream.options.batch_size)

    def some(n: int, held: bool) -> dict[str, np.ndarray]:
        if held and data.probe_source:
            found = read_some(data.probe_source, n, size=data.size, channels=data.channels)
        else:
            held = held and data.holdout > 0
            found = read_some(data.source, n, size=data.size, channels=data.channels, holdout=data.holdout, held=held)
        if found["image"].shape[1:] != stream.shape:
            raise ConfigError(
                f"{data.probe_source} has images of shape {list(found['image'].shape[1:])}, and {data.source} of "
                f"{list(stream.shape)}; give --data.size"
            )
        return found

    first = some(STANDARDISED, held=False)["image"]
    mean, scale = standardise(pixels(first))

    def probe(n: int) -> Probe:
        found = some(n, held=True)
        truth, label = found.get("log_density"), found["label"]
        every = (label >= 0).all()
        return Probe(
            pixels(found["image"]),
            None if truth is None else jnp.asarray(truth),
            label=jnp.asarray(label) if every else None,
        )

    def labelled(n: int) -> tuple[np.ndarray, np.ndarray]:
        found = some(n, held=False)
        known = found["label"] >= 0
        return found["image"][known], found["label"][known]

    judged = stream.classes is not None and bool(data.probe_source or data.holdout)
    return replace(
        stream_source(data, stream.shape, mean, scale, first.dtype),
        probe=probe,
        labelled=labelled if judged else None,
        batches=stream.batches,
    )


def stream_source(data: cfg.Data, shape: tuple[int, ...], mean: Array, scale: Array, dtype: Any) -> Source:
    """What a stream of images of this shape and type is to a training step; it has no samples to look at.

    Raises:
      ConfigError: an option that a stream does not have.
    """
    refuse_options(data, shape)
    noise = NOISE_FRACTION * scale if data.noise is None else data.noise

    def rows(batch: Any, key: Array) -> tuple[Array, Array]:
        del key
        return pixels(batch["image"]), batch["index"]

    def views(batch: Any, key: Array) -> Array:
        x, index = rows(batch, key)
        return pairs(key, index, x, x, noise, data.shift)

    def probe(n: int) -> Probe:
        raise NotImplementedError(f"{n} samples of a stream that was not opened")

    batch = {
        "image": jax.ShapeDtypeStruct((data.batch_size, *shape), dtype),
        "index": jax.ShapeDtypeStruct((data.batch_size,), jnp.uint32),
    }
    return Source(shape, noise, data.batch_size, mean, scale, batch, views, rows, probe)


def pixels(x: Any) -> Array:
    """Bytes as numbers in [0, 1], to the bit those that the host divides by 255; what is floating point stays."""
    x = jnp.asarray(x)
    if x.dtype != jnp.uint8:
        return x
    # Compilers turn a division by a constant into a product with its rounded inverse. Of an inverse in two parts, the
    # first product is exact and the sum is rounded as the division is.
    x = x.astype(jnp.float32)
    return x * INVERSE_HIGH + x * INVERSE_LOW
