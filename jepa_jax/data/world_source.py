"""A world as a source: fresh samples at every step, and the exact density of every probe."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.source import PROBE_SEED, Probe, Source, standardise
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import WORLDS, World


def make_world(data: cfg.Data) -> World:
    """The world a config names, with the config's view options."""
    options = {k: v for k, v in (("noise", data.noise), ("rho", data.rho)) if v is not None}
    try:
        return WORLDS[data.source](**options)
    except TypeError:
        raise ConfigError(f"--data.rho is for worlds with Gaussian latents; {data.source} pairs by noise") from None


def from_world(world: World, data: cfg.Data) -> Source:
    """A world, with fresh samples in every batch."""

    def views(arrays: Any, key: Array) -> Array:
        del arrays
        draw, view = jax.random.split(key)
        states = jax.vmap(world.draw)(jax.random.split(draw, data.batch_size))
        return jnp.stack(jax.vmap(world.views)(jax.random.split(view, data.batch_size), states))

    def rows(arrays: Any, key: Array) -> tuple[Array, Array]:
        del arrays
        return world.sample(key, data.batch_size)[0], jnp.arange(data.batch_size)

    # Enough samples to standardise by; which ones does not matter to the density, only to the conditioning.
    x, _ = jax.jit(world.sample, static_argnums=1)(jax.random.key(PROBE_SEED + 1), 4096)
    mean, scale = standardise(x)

    def probe(n: int) -> Probe:
        return world_probe(world, n)[0]

    return Source(world.shape, world.noise, data.batch_size, mean, scale, (), views, rows, probe, world)


def world_probe(world: World, n: int, seed: int = PROBE_SEED) -> tuple[Probe, Array]:
    """n samples of a world, and their states [n, ...]."""

    @jax.jit
    def make(key: Array) -> tuple[Probe, Array]:
        x, states = world.sample(key, n)
        smoothed = None if world.log_density_smoothed is None else jax.lax.map(world.log_density_smoothed, states)
        tangent = None if world.tangent is None else jax.vmap(world.tangent)(states)
        return Probe(x, jax.lax.map(world.log_density, states), smoothed, tangent), states

    return make(jax.random.key(seed))
