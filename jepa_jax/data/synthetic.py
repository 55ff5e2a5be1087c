"""World as a source: new samples in every step, and the exact density of every probe."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import PROBE_SEED, Probe, Source, quantiles_of, standardise
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import WORLDS, World

SCORE_SEED = 20251008  # seed of the samples of a world that are scored, which differ from those of the probe set
STANDARDISING_SAMPLES = 4096  # samples from which the mean and the scale of the input are computed


def make_world(data: cfg.Data) -> World:
    """Return the world that a config names, with the view options of the config.

    Raises:
      ConfigError: If the world does not have an option.
    """
    if data.noise == "local":
        raise ConfigError(
            "`data.noise` local needs the rows of a file; a world has a noise of its own, or give a number"
        )
    if data.neighbours:
        raise ConfigError(f"`data.neighbours` needs samples in memory, and the world {data.source} draws new ones")
    options = {k: v for k, v in (("noise", data.noise), ("rho", data.rho)) if v is not None}
    try:
        return WORLDS[data.source](**options)
    except TypeError:
        raise ConfigError(
            f"`data.rho` is for worlds with Gaussian latents; the pairs of {data.source} differ by noise"
        ) from None


def from_world(world: World, data: cfg.Data) -> Source:
    """Make a source of a world, with new samples in every batch."""

    def draw(arrays: Any, key: Array) -> tuple[dict[str, Array], Array]:
        del arrays
        fresh, view = jax.random.split(key)
        states = jax.vmap(world.draw)(jax.random.split(fresh, data.batch_size))
        return {"state": states}, jax.random.split(view, data.batch_size)

    # The mean and the scale affect only the conditioning, not the density, so that any samples are suitable.
    x, _ = jax.jit(world.sample, static_argnums=1)(jax.random.key(PROBE_SEED + 1), STANDARDISING_SAMPLES)
    mean, scale = standardise(x, world.categories)

    def probe(n: int) -> Probe:
        return world_probe(world, n)[0]

    return Source(
        world.shape,
        world.noise,
        data.batch_size,
        mean,
        scale,
        (),
        draw,
        probe,
        world,
        quantiles=quantiles_of(x),
        labelled=None if world.label is None else partial(_labelled, world),
        known=lambda n: world.sample(jax.random.key(PROBE_SEED + 2), n)[0],
        conditions=conditions_of(world),
        categories=world.categories,
    )


def conditions_of(world: World) -> int:
    """Return the number of numbers in the condition of a world, 0 without one."""
    if world.condition is None:
        return 0
    condition = world.condition
    return jax.eval_shape(lambda key: condition(world.draw(key)), jax.random.key(0)).shape[0]


def _labelled(world: World, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n samples of a world and their classes, other ones than those of the probe set."""
    assert world.label is not None
    x, states = world.sample(jax.random.key(PROBE_SEED + 2), n)
    return np.asarray(x), np.asarray(jax.vmap(world.label)(states))


def world_probe(world: World, n: int, seed: int = PROBE_SEED) -> tuple[Probe, Array]:
    """Return n samples of a world, and their states [n, ...]."""

    @jax.jit
    def make(key: Array) -> tuple[Probe, Array]:
        x, states = world.sample(key, n)
        smoothed = None if world.log_density_smoothed is None else jax.lax.map(world.log_density_smoothed, states)
        tangent = None if world.tangent is None else jax.vmap(world.tangent)(states)
        label = None if world.label is None else jax.vmap(world.label)(states)
        return Probe(x, jax.lax.map(world.log_density, states), smoothed, tangent, label), states

    return make(jax.random.key(seed))


def world_samples(name: str, n: int) -> Samples:
    """Return n samples of a world, to score."""
    probe, states = world_probe(WORLDS[name](), n, SCORE_SEED)
    world = WORLDS[name]()
    columns: dict[str, Any] = {"states": states, "label": probe.label, "tangent": probe.tangent}
    if world.condition is not None:
        columns["condition"] = jax.vmap(world.condition)(states)
    arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns.items() if column is not None}
    return Samples(np.asarray(probe.x), np.asarray(probe.log_density), categories=world.categories, name=name, **arrays)
