"""A world as a source: fresh samples at every step, and the exact density of every probe."""

from typing import Any

import jax
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.dataset import Samples
from jepa_jax.data.source import PROBE_SEED, Probe, Source, standardise
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import WORLDS, World

SCORE_SEED = 20251008  # of the samples of a world that score draws: none that a monitor has evaluated
STANDARDISED = 4096  # samples by which the input is standardised


def make_world(data: cfg.Data) -> World:
    """The world that a config names, with the config's view options."""
    options = {k: v for k, v in (("noise", data.noise), ("rho", data.rho)) if v is not None}
    try:
        return WORLDS[data.source](**options)
    except TypeError:
        raise ConfigError(f"`data.rho` is for worlds with Gaussian latents; {data.source} pairs by noise") from None


def from_world(world: World, data: cfg.Data) -> Source:
    """A world, with fresh samples in every batch."""

    def draw(arrays: Any, key: Array) -> tuple[dict[str, Array], Array]:
        del arrays
        fresh, view = jax.random.split(key)
        states = jax.vmap(world.draw)(jax.random.split(fresh, data.batch_size))
        return {"state": states}, jax.random.split(view, data.batch_size)

    # Enough samples to standardise by; which ones does not matter to the density, only to the conditioning.
    x, _ = jax.jit(world.sample, static_argnums=1)(jax.random.key(PROBE_SEED + 1), STANDARDISED)
    mean, scale = standardise(x)

    def probe(n: int) -> Probe:
        return world_probe(world, n)[0]

    return Source(world.shape, world.noise, data.batch_size, mean, scale, (), draw, probe, world)


def world_probe(world: World, n: int, seed: int = PROBE_SEED) -> tuple[Probe, Array]:
    """n samples of a world, and their states [n, ...]."""

    @jax.jit
    def make(key: Array) -> tuple[Probe, Array]:
        x, states = world.sample(key, n)
        smoothed = None if world.log_density_smoothed is None else jax.lax.map(world.log_density_smoothed, states)
        tangent = None if world.tangent is None else jax.vmap(world.tangent)(states)
        return Probe(x, jax.lax.map(world.log_density, states), smoothed, tangent), states

    return make(jax.random.key(seed))


def world_samples(name: str, n: int) -> Samples:
    """n samples of a world to score."""
    probe, states = world_probe(WORLDS[name](), n, SCORE_SEED)
    tangent = None if probe.tangent is None else np.asarray(probe.tangent)
    return Samples(
        np.asarray(probe.x), np.asarray(probe.log_density), states=np.asarray(states), tangent=tangent, name=name
    )
