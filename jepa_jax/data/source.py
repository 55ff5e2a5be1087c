"""One grammar for data: a name or a path to something that makes pairs of views, probes and samples."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.config import ConfigError, nearest
from jepa_jax.data.arrays import Samples, is_held_out, read_arrays, read_digits
from jepa_jax.data.folder import Images
from jepa_jax.preprocessing import Preprocessing
from jepa_jax.views import jittered
from jepa_jax.worlds import WORLDS, World

PROBE_SEED = 20251007  # of the probe set, the same for every run
SCORE_SEED = 20251008  # of the samples of a world that score draws: none that a monitor has looked at
LABELLED = 2000  # rows that probes are fitted on
NOISE_FRACTION = 0.1  # of the data's standard deviation: the view noise of arrays


@dataclass(frozen=True)
class Probe:
    """A fixed set of samples on which the density is looked at.

    Attributes:
      x: [N, ...].
      log_density: [N], exact, or None.
      log_density_smoothed: [N], of the density convolved with the view noise, or None.
      tangent: [N, D, d], orthonormal bases of the manifold's tangent spaces, or None.
      label: [N], or None.
    """

    x: Array
    log_density: Array | None = None
    log_density_smoothed: Array | None = None
    tangent: Array | None = None
    label: Array | None = None


@dataclass(frozen=True)
class Source:
    """What a run trains on.

    Attributes:
      shape: of one sample.
      noise: standard deviation of the view noise, in the data's units (a scalar, or per input number).
      batch_size: B, no larger than the number of rows there are.
      mean, scale: what standardises the samples, broadcastable to `shape`.
      arrays: what `views` reads; an argument of the compiled step, so that data are not constants in it.
      views: (arrays, key) -> [2, B, *shape], made on the device.
      rows: (arrays, key) -> [B, *shape], samples as they are.
      probe: n -> a Probe of at most n samples.
      world: the World, where the source is one.
      labelled: samples [N, *shape] and labels [N] of those that are trained on, for probes to be fitted on; or None.
    """

    shape: tuple[int, ...]
    noise: Any
    batch_size: int
    mean: Array
    scale: Array
    arrays: Any
    views: Callable[[Any, Array], Array]
    rows: Callable[[Any, Array], Array]
    probe: Callable[[int], Probe]
    world: World | None = None
    labelled: tuple[Array, Array] | None = None


def open_source(data: cfg.Data) -> Source:
    """The source a config names.

    Raises:
      ConfigError: an unknown name, an unreadable file, or an option the source does not have.
    """
    if data.source in WORLDS:
        return _from_world(make_world(data), data)
    samples = _read(data.source)
    return _from_samples(samples, data)


def make_world(data: cfg.Data) -> World:
    """The world a config names, with the config's view options."""
    options = {k: v for k, v in (("noise", data.noise), ("rho", data.rho)) if v is not None}
    try:
        return WORLDS[data.source](**options)
    except TypeError:
        raise ConfigError(f"--data.rho is for worlds with Gaussian latents; {data.source} pairs by noise") from None


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
        probe, states = _world_probe(WORLDS[spec](), limit or world_count, SCORE_SEED)
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
    if path.is_dir():
        raise ConfigError(f"{spec}: training on image folders is not supported yet; save the images as .npz")
    if spec.startswith("tfds:"):
        raise ConfigError(f"{spec}: tfds: sources are not supported yet; save the samples as .npz")
    raise ConfigError(f"unknown data {spec!r}: not a world, digits, a .npy, a .npz or a folder{nearest(spec, WORLDS)}")


def _from_world(world: World, data: cfg.Data) -> Source:
    def views(arrays: Any, key: Array) -> Array:
        del arrays
        draw, view = jax.random.split(key)
        states = jax.vmap(world.draw)(jax.random.split(draw, data.batch_size))
        return jnp.stack(jax.vmap(world.views)(jax.random.split(view, data.batch_size), states))

    def rows(arrays: Any, key: Array) -> Array:
        del arrays
        return world.sample(key, data.batch_size)[0]

    # Enough samples to standardise by; which ones does not matter to the density, only to the conditioning.
    x, _ = jax.jit(world.sample, static_argnums=1)(jax.random.key(PROBE_SEED + 1), 4096)
    mean, scale = _standardise(x)

    def probe(n: int) -> Probe:
        return _world_probe(world, n)[0]

    return Source(world.shape, world.noise, data.batch_size, mean, scale, (), views, rows, probe, world)


def _world_probe(world: World, n: int, seed: int = PROBE_SEED) -> tuple[Probe, Array]:
    """n samples of a world, and their states [n, ...]."""

    @jax.jit
    def make(key: Array) -> tuple[Probe, Array]:
        x, states = world.sample(key, n)
        smoothed = None if world.log_density_smoothed is None else jax.lax.map(world.log_density_smoothed, states)
        tangent = None if world.tangent is None else jax.vmap(world.tangent)(states)
        return Probe(x, jax.lax.map(world.log_density, states), smoothed, tangent), states

    return make(jax.random.key(seed))


jax.tree_util.register_dataclass(Probe)


def _from_samples(samples: Samples, data: cfg.Data) -> Source:
    if data.rho is not None:
        raise ConfigError(f"--data.rho is for worlds with Gaussian latents; {data.source} has rows")
    shape = samples.x.shape[1:]
    if data.shift and len(shape) != 3:
        raise ConfigError(
            f"--data.shift is for images [H, W, C], and a sample of {data.source} has shape {list(shape)}"
        )
    held = is_held_out(len(samples.x), data.holdout)
    if (~held).sum() < 2:
        raise ConfigError(f"{data.source} leaves {(~held).sum()} rows to train on; it takes at least 2")
    arrays = {"x": jnp.asarray(samples.x[~held])}
    if samples.pair is not None:
        arrays["pair"] = jnp.asarray(samples.pair[~held])
    count = len(arrays["x"])
    batch_size = min(data.batch_size, count)
    mean, scale = _standardise(arrays["x"])
    if data.noise is not None:
        noise: Any = data.noise
    else:
        noise = 0.0 if samples.pair is not None else NOISE_FRACTION * scale

    # Any labels will do; here they are numbers from 0.
    classes = None if samples.label is None else np.unique(samples.label, return_inverse=True)[1].astype(np.int32)

    def rows(arrays: Any, key: Array) -> Array:
        return arrays["x"][jax.random.choice(key, count, (batch_size,), replace=False)]

    def views(arrays: Any, key: Array) -> Array:
        pick, view = jax.random.split(key)
        rows = jax.random.choice(pick, count, (batch_size,), replace=False)
        both = jnp.stack([arrays["x"][rows], arrays.get("pair", arrays["x"])[rows]])
        keys = jax.random.split(view, 2 * batch_size).reshape(2, batch_size)
        return jax.vmap(jax.vmap(lambda k, x: jittered(k, x, noise, data.shift)))(keys, both)

    def probe(n: int) -> Probe:
        rows = np.flatnonzero(held if held.any() else ~held)
        # Every run sees the same rows, whatever order the file has them in.
        rows = np.sort(np.random.default_rng(PROBE_SEED).permutation(rows)[:n])
        truth = None if samples.log_density is None else jnp.asarray(samples.log_density[rows])
        label = None if classes is None else jnp.asarray(classes[rows])
        return Probe(jnp.asarray(samples.x[rows]), truth, label=label)

    labelled = None
    if classes is not None and held.any():  # else they would be judged on what they were fitted on
        fit = np.sort(np.random.default_rng(PROBE_SEED).permutation(np.flatnonzero(~held))[:LABELLED])
        labelled = jnp.asarray(samples.x[fit]), jnp.asarray(classes[fit])
    return Source(shape, noise, batch_size, mean, scale, arrays, views, rows, probe, labelled=labelled)


def _standardise(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation: per number for vectors, one for all of an image."""
    axes = (0,) if x.ndim == 2 else None
    std = jnp.std(x, axis=axes)
    # A number that never varies must not be blown up.
    return jnp.mean(x, axis=axes), jnp.maximum(std, 1e-3 * jnp.max(std) + 1e-12)
