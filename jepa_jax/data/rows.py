"""Samples in memory as a source: batches are drawn from them on the device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.arrays import Samples, is_held_out
from jepa_jax.data.source import NOISE_FRACTION, PROBE_SEED, Probe, Source, pairs, refuse_options, standardise
from jepa_jax.errors import ConfigError


def from_samples(samples: Samples, data: cfg.Data) -> Source:
    """Rows of arrays.

    Raises:
      ConfigError: an option that rows do not have, or too few to train on.
    """
    shape = samples.x.shape[1:]
    refuse_options(data, shape)
    held = is_held_out(len(samples.x), data.holdout)
    if (~held).sum() < 2:
        raise ConfigError(f"{data.source} leaves {(~held).sum()} rows to train on; it takes at least 2")
    arrays = {"x": jnp.asarray(samples.x[~held])}
    if samples.pair is not None:
        arrays["pair"] = jnp.asarray(samples.pair[~held])
    count = len(arrays["x"])
    batch_size = min(data.batch_size, count)
    mean, scale = standardise(arrays["x"])
    if data.noise is not None:
        noise: Any = data.noise
    else:
        noise = 0.0 if samples.pair is not None else NOISE_FRACTION * scale

    # Any labels will do; here they are numbers from 0.
    classes = None if samples.label is None else np.unique(samples.label, return_inverse=True)[1].astype(np.int32)

    def rows(arrays: Any, key: Array) -> tuple[Array, Array]:
        index = jax.random.choice(key, count, (batch_size,), replace=False)
        return arrays["x"][index], index

    def views(arrays: Any, key: Array) -> Array:
        pick, view = jax.random.split(key)
        x, index = rows(arrays, pick)
        return pairs(view, index, x, arrays["pair"][index] if "pair" in arrays else x, noise, data.shift)

    def probe(n: int) -> Probe:
        rows = np.flatnonzero(held if held.any() else ~held)
        # Every run sees the same rows, whatever order the file has them in.
        rows = np.sort(np.random.default_rng(PROBE_SEED).permutation(rows)[:n])
        truth = None if samples.log_density is None else jnp.asarray(samples.log_density[rows])
        label = None if classes is None else jnp.asarray(classes[rows])
        return Probe(jnp.asarray(samples.x[rows]), truth, label=label)

    def labelled(n: int) -> tuple[np.ndarray, np.ndarray]:
        assert classes is not None
        fit = np.sort(np.random.default_rng(PROBE_SEED).permutation(np.flatnonzero(~held))[:n])
        return np.asarray(samples.x[fit]), classes[fit]

    judged = classes is not None and held.any()  # else they would be judged on what they were fitted on
    return Source(
        shape, noise, batch_size, mean, scale, arrays, views, rows, probe, labelled=labelled if judged else None
    )
