"""The random views of a sample that its encoder was trained with."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data import Images, Samples, make_world, open_source
from jepa_jax.errors import ConfigError
from jepa_jax.views import jittered
from jepa_jax.worlds import WORLDS, World

VIEW_SEED = 20251009  # of the views that score draws, the same in every call
BLOCK_NUMBERS = 2**22  # in the views that are made by one call of the compiled function


class Views:
    """Views of many samples as one long sequence, made when they are asked for: view m of sample i is number i M + m.

    Its randomness depends on i and m alone, so that batches, devices, processes and crashes change nothing.
    """

    def __init__(
        self, one: Callable[[Array, Array], Array], inputs: np.ndarray | Images, count: int, start: int, stop: int
    ) -> None:
        """Views of the samples start..stop.

        Args:
          one: (key, what `inputs` holds of a sample) -> a view.
          inputs: [N, ...], of all samples.
          count: M.
        """
        self._one, self._inputs, self._count, self._start, self._stop = one, inputs, count, start, stop
        self._many = jax.jit(jax.vmap(self._view))
        size = jax.eval_shape(self._view, 0, 0, inputs[0]).size
        self._block = max(1, min(len(self), BLOCK_NUMBERS // size))

    def __len__(self) -> int:
        """How many views there are, of all samples."""
        return (self._stop - self._start) * self._count

    def __getitem__(self, which: int | slice) -> Array:
        """One view, or consecutive ones."""
        if isinstance(which, int):
            return self[which : which + 1][0]
        wanted = np.arange(*which.indices(len(self)))
        padded = np.resize(wanted, -(-len(wanted) // self._block) * self._block)  # one size: compiled once
        blocks = [self._make(numbers) for numbers in padded.reshape(-1, self._block)]
        return (blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks))[: len(wanted)]

    def _make(self, numbers: np.ndarray) -> Array:
        rows, views = np.divmod(numbers, self._count)
        rows += self._start
        return self._many(jnp.asarray(rows), jnp.asarray(views), jnp.asarray(self._inputs[rows]))

    def _view(self, row: Array, view: Array, given: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(VIEW_SEED), row), view)
        return self._one(key, given)


def open_views(data: cfg.Data, name: str, samples: Samples, count: int) -> Callable[[int, int], Views]:
    """The views of samples that an encoder's config describes.

    Args:
      data: the config's.
      name: of the samples, by the data grammar.
      count: M.

    Returns:
      (start, stop) -> the views of these samples.

    Raises:
      ConfigError: there are none, or they cannot be made of these samples.
    """
    if data.source in WORLDS:
        world = make_world(data)
        inputs = _states(world, name, samples)

        def one(key: Array, given: Array) -> Array:
            which, draw = jax.random.split(key)  # the two views of a pair are made differently in some worlds
            return jnp.stack(world.views(draw, given))[jax.random.randint(which, (), 0, 2)]

    else:
        # The file is opened for the scale of its samples, where the config does not name the noise.
        noise = open_source(data).noise if data.noise is None else data.noise
        if not (np.any(noise) or data.shift):
            raise ConfigError(f"--views: this encoder was trained on the pairs in {data.source}, with no random views")
        inputs = samples.x

        def one(key: Array, given: Array) -> Array:
            return jittered(key, given, noise, data.shift)

    return lambda start, stop: Views(one, inputs, count, start, stop)


def _states(world: World, name: str, samples: Samples) -> np.ndarray | Images:
    """What the world makes views of: the samples themselves, or what they were rendered from."""
    shape = jax.eval_shape(world.draw, jax.random.key(0)).shape
    if shape == world.shape:
        return samples.x
    if name == world.name and samples.states is not None:
        return samples.states
    size = math.prod(shape)
    raise ConfigError(
        f"--views: this encoder's views change the {size} latents of {world.name}, which {name} does not have; "
        f"score --data {world.name}, or leave out --views"
    )
