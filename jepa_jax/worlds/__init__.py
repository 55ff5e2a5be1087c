"""Synthetic datasets with an exact log-density.

To add a world, add a file here and an entry to `WORLDS`.
"""

from collections.abc import Callable
from functools import partial

from jepa_jax.worlds import (
    banana,
    beats,
    cartpole,
    checkerboard,
    coupling,
    linear,
    mixture,
    moons,
    processes,
    rings,
    speckle,
    spiral,
    sprites,
    table,
)
from jepa_jax.worlds.world import World

WORLDS: dict[str, Callable[..., World]] = {
    "mixture_2d": partial(mixture.make, 2),
    "mixture_8d": partial(mixture.make, 8),
    "mixture_32d": partial(mixture.make, 32),
    "moons": moons.make,
    "rings": rings.make,
    "checkerboard": checkerboard.make,
    "spiral": spiral.make,
    "banana": banana.make,
    "coupling_2d": partial(coupling.make, 2),
    "coupling_8d": partial(coupling.make, 8),
    "coupling_32d": partial(coupling.make, 32),
    "sprites": sprites.make,
    "processes": processes.make,
    "speckle": speckle.make,
    "speckle_1": speckle.make_one_look,
    "table": table.make,
    "cartpole": cartpole.make,
    "cartpole_ahead": partial(cartpole.make, horizon=10),
    "beats": beats.make,
    "linear": linear.make,
}

__all__ = ["WORLDS", "World"]
