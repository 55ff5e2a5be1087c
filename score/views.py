"""Random views of samples, made as in the training of the encoder."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data import LazyImages, Samples, local_noise, make_world, open_source
from jepa_jax.errors import ConfigError
from jepa_jax.recipes import RECIPES
from jepa_jax.run_dir import read_config, read_statistics
from jepa_jax.views import Pipeline, build_pipeline
from jepa_jax.worlds import WORLDS, World

VIEW_SEED = 20251009  # seed of all views that the program draws, the same in every call
Examples = dict[str, "np.ndarray | LazyImages"]
View = Callable[[Array, dict[str, Array]], Array]
MAX_BLOCK_NUMBERS = 2**22  # numbers in the views that one call of the compiled function makes


class Views:
    """Sequence of the views of many samples, made on demand; view m of sample i has the index i M + m.

    The random numbers of a view depend only on i and m, and so not on batches, devices, processes or crashes.
    """

    def __init__(self, one: View, examples: Examples, count: int, start: int, stop: int) -> None:
        """Describe the views of the samples start..stop.

        Args:
          one: (key, example) -> a view.
          examples: Arrays [N, ...] of all samples by name.
          count: M, the number of views per sample.
          start: First row.
          stop: One past the last row.
        """
        self._examples, self._count, self._start, self._stop = examples, count, start, stop
        self._many = jax.jit(many_views(one))
        first = {name: jnp.asarray(column[0]) for name, column in examples.items()}
        size = jax.eval_shape(one, jax.random.key(0), first).size
        self._block = max(1, min(len(self), MAX_BLOCK_NUMBERS // size))

    def __len__(self) -> int:
        """Return the number of views of all samples."""
        return (self._stop - self._start) * self._count

    def __getitem__(self, which: int | slice) -> Array:
        """Return one view [...] or consecutive views [n, ...]."""
        if isinstance(which, int):
            return self[which : which + 1][0]
        wanted = np.arange(*which.indices(len(self)))
        padded = np.resize(wanted, -(-len(wanted) // self._block) * self._block)  # blocks of one size, compiled once
        blocks = [self._make(numbers) for numbers in padded.reshape(-1, self._block)]
        return (blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks))[: len(wanted)]

    def _make(self, numbers: np.ndarray) -> Array:
        rows, views = np.divmod(numbers, self._count)
        rows += self._start
        given = {name: jnp.asarray(column[rows]) for name, column in self._examples.items()}
        return self._many(jnp.asarray(rows), jnp.asarray(views), given)


def many_views(one: View) -> Callable[[Array, Array, dict[str, Array]], Array]:
    """Return a function (rows [n], numbers of views [n], examples [n, ...] by name) -> views [n, ...]."""

    def view(row: Array, number: Array, example: dict[str, Array]) -> Array:
        return one(jax.random.fold_in(jax.random.fold_in(jax.random.key(VIEW_SEED), row), number), example)

    return jax.vmap(view)


def one_view(pipeline: Pipeline, shape: tuple[int, ...]) -> View:
    """Return a function (key, example) -> one of the views [*shape] that training draws with that key, at random."""

    def one(key: Array, example: dict[str, Array]) -> Array:
        which, draw = jax.random.split(key)  # the two views of a pair are made differently in some worlds
        views = jnp.concatenate([group for group in pipeline(draw, example) if group.shape[1:] == shape])
        return views[jax.random.randint(which, (), 0, len(views))]

    return one


def open_views(run: Path, name: str, samples: Samples, count: int) -> Callable[[int, int], Views]:
    """Open the views of samples with which a run was trained.

    Each view is chosen at random among those that training draws with one key.

    Args:
      run: Directory of the run.
      name: Name of the samples, in the syntax of --data.
      samples: Samples to be scored.
      count: M, the number of views per sample.

    Returns:
      (start, stop) -> the views of these samples.

    Raises:
      ConfigError: If the run used no random views, or they cannot be made of these samples.
    """
    pipeline, examples = training_views(run, name, samples)
    one = one_view(pipeline, samples.x.shape[1:])
    return lambda start, stop: Views(one, examples, count, start, stop)


def training_views(run: Path, name: str, samples: Samples) -> tuple[Pipeline, Examples]:
    """Return the pipeline of views with which a run was trained, and its input.

    Args:
      run: Directory of the run.
      name: Name of the samples, in the syntax of --data.
      samples: Samples to be scored.

    Returns:
      The pipeline, and the arrays [N, ...] by name that it takes.

    Raises:
      ConfigError: As in `open_views`.
    """
    config, shape = read_config(run)
    data = config.data
    world = make_world(data) if data.source in WORLDS else None
    if world is not None and config.views.kind != "noise" and name != world.name:
        world = None  # crops can be made of any image
    examples: Examples = {"x": samples.x}
    noise: Any = 0.0
    if world is not None:
        examples = {"state": _states(world, name, samples)}
    elif config.views.kind == "noise":
        noise = _noise(run, data, samples)
        if np.shape(noise) == np.shape(samples.x):
            examples["noise"] = np.asarray(noise)
        if not (np.any(noise) or data.shift):
            partners = "near samples" if data.neighbours else "the pairs"
            raise ConfigError(f"`views`: this encoder was trained on {partners} in {data.source}, without random views")
        if samples.pair is not None:
            examples["pair"] = samples.pair
    pipeline = build_pipeline(
        config.views,
        shape=shape,
        noise=noise,
        shift=data.shift,
        world=world,
        most=RECIPES[config.recipe.kind].views_read(config.recipe),
    )
    return pipeline, examples


def _noise(run: Path, data: cfg.Data, samples: Samples) -> Any:
    """Return the standard deviation of the view noise; [N, D] if it depends on the neighbours of each sample.

    For a run of jepa_jax 0.1, which did not save it, the data are opened to determine their scale.
    """
    if isinstance(data.noise, float | int):
        return data.noise
    statistics = read_statistics(run)
    if statistics is not None and statistics.get("noise_is_local", False):
        mean, scale = statistics["mean"], statistics["scale"]
        return local_noise(np.asarray(samples.x), mean, scale, data.noise_factor)[:, None] * scale
    return open_source(data).noise if statistics is None else statistics["noise"]


def _states(world: World, name: str, samples: Samples) -> np.ndarray | LazyImages:
    """Return the input of the world's views: the samples themselves, or the latents from which they were rendered."""
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
