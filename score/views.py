"""The random views of a sample that its encoder was trained with."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data import LazyImages, Samples, make_world, open_source
from jepa_jax.errors import ConfigError
from jepa_jax.recipes import RECIPES
from jepa_jax.run_dir import read_config, read_statistics
from jepa_jax.views import Pipeline, build_pipeline
from jepa_jax.worlds import WORLDS, World

VIEW_SEED = 20251009  # of the views that score draws, the same in every call
Examples = dict[str, "np.ndarray | LazyImages"]
View = Callable[[Array, dict[str, Array]], Array]
BLOCK_NUMBERS = 2**22  # in the views that are made by one call of the compiled function


class Views:
    """Views of many samples as one long sequence, made when they are asked for: view m of sample i is number i M + m.

    Its randomness depends on i and m alone, so that batches, devices, processes and crashes change nothing.
    """

    def __init__(self, one: View, examples: Examples, count: int, start: int, stop: int) -> None:
        """Views of the samples start..stop.

        Args:
          one: (key, example) -> a view.
          examples: arrays [N, ...] by name, of all samples.
          count: M.
          start, stop: rows.
        """
        self._one, self._examples, self._count, self._start, self._stop = one, examples, count, start, stop
        self._many = jax.jit(jax.vmap(self._view))
        first = {name: jnp.asarray(column[0]) for name, column in examples.items()}
        size = jax.eval_shape(self._view, 0, 0, first).size
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
        given = {name: jnp.asarray(column[rows]) for name, column in self._examples.items()}
        return self._many(jnp.asarray(rows), jnp.asarray(views), given)

    def _view(self, row: Array, view: Array, example: dict[str, Array]) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(VIEW_SEED), row), view)
        return self._one(key, example)


def open_views(run: Path, name: str, samples: Samples, count: int) -> Callable[[int, int], Views]:
    """The views of samples that a run was trained with, one at random of those that training draws with a key.

    Args:
      run: directory of the run.
      name: of the samples, by the data grammar.
      samples: what is scored.
      count: M.

    Returns:
      (start, stop) -> the views of these samples.

    Raises:
      ConfigError: there are none, or they cannot be made of these samples.
    """
    pipeline, examples = training_views(run, name, samples)
    shape = samples.x.shape[1:]

    def one(key: Array, example: dict[str, Array]) -> Array:
        which, draw = jax.random.split(key)  # the two views of a pair are made differently in some worlds
        views = jnp.concatenate([group for group in pipeline(draw, example) if group.shape[1:] == shape])
        return views[jax.random.randint(which, (), 0, len(views))]

    return lambda start, stop: Views(one, examples, count, start, stop)


def training_views(run: Path, name: str, samples: Samples) -> tuple[Pipeline, Examples]:
    """The pipeline that a run was trained with, and what it takes of each sample. Arguments and errors as above."""
    config, shape = read_config(run)
    data = config.data
    world = make_world(data) if data.source in WORLDS else None
    if world is not None and config.views.kind != "noise" and name != world.name:
        world = None  # crops are made of any image
    examples: Examples = {"x": samples.x}
    noise: Any = 0.0
    if world is not None:
        examples = {"state": _states(world, name, samples)}
    elif config.views.kind == "noise":
        noise = _noise(run, data)
        if not (np.any(noise) or data.shift):
            raise ConfigError(f"`views`: this encoder was trained on the pairs in {data.source}, with no random views")
        if samples.pair is not None:
            examples["pair"] = samples.pair
    pipeline = build_pipeline(
        config.views,
        shape=shape,
        noise=noise,
        shift=data.shift,
        world=world,
        most=RECIPES[config.recipe.kind].views_read,
    )
    return pipeline, examples


def _noise(run: Path, data: cfg.Data) -> Any:
    """Deviation of the view noise; of a run of jepa_jax 0.1 its file is opened for the scale of its samples."""
    if data.noise is not None:
        return data.noise
    statistics = read_statistics(run)
    return open_source(data).noise if statistics is None else statistics["noise"]


def _states(world: World, name: str, samples: Samples) -> np.ndarray | LazyImages:
    """What the world makes views of: the samples themselves, or what they were rendered from."""
    shape = jax.eval_shape(world.draw, jax.random.key(0)).shape
    if shape == world.shape:
        return samples.x
    if name == world.name and samples.states is not None:
        return samples.states
    size = math.prod(shape)
    raise ConfigError(
        f"`views`: this encoder's views change the {size} latents of {world.name}, which {name} does not have; "
        f"score --data {world.name}, or leave out `views`"
    )
