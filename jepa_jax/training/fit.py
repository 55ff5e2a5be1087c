"""Training in a few lines, without console output, files or evaluation."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jepa_jax.config import Config, Mesh
from jepa_jax.config_json import from_tree
from jepa_jax.data import Source, as_samples, ignored_options, is_dataset, open_source, preprocessing_of
from jepa_jax.data.in_memory import from_samples, unequal_rows
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing
from jepa_jax.initial_weights import check_initial_weights, with_initial_weights
from jepa_jax.recipes import of_raw_samples
from jepa_jax.resolve import resolve
from jepa_jax.sharding import check_batch, training_mesh
from jepa_jax.training.input_pipeline import InputPipeline
from jepa_jax.training.step import METRICS, STEPS_PER_DISPATCH, make_trainer

Callback = Callable[[int, dict[str, float], Encoder], Any]


def fit(
    config: Config | Mapping[str, Any],
    x: Any = None,
    *,
    callback: Callback | None = None,
    every: int = STEPS_PER_DISPATCH,
) -> Encoder:
    """Train a config on one device and return its encoder.

    Args:
      config: Config, or a dict of those of its fields that differ from the defaults, with a dict for each section, as
        in a config file. `data.source` names the data, unless `x` is given.
      x: Samples [N, ...] in memory, of any kind of numbers; uint8 is scaled to [0, 1]. Or a DataFrame, whose columns of
        numbers are the samples, as in a table file; or a dataset of Hugging Face, of numbers or of images. None: the
        data that the config names; pictures of a folder are read during the training.
      callback: Function (step, metrics, encoder) -> anything, which is called after every `every` steps and at the end.
        The metrics are the means of `loss`, `prediction`, `anti_collapse` and `grad_norm` since the previous call.
      every: Steps between calls of the callback.

    Returns:
      Encoder with the weights that are the result of the run; `score_samples(encoder, xs)` scores with it.

    Raises:
      ConfigError: If the config or the samples are invalid, or the loss is not finite.
      ValueError: If `every` is below 1.

    Warns:
      UserWarning: If images could not be read, with their number, if options of the data have no effect, or if
        rows of images or series have units too different for one deviation.
    """
    if every < 1:
        raise ValueError(f"every is {every}; it must be at least 1")
    config = config if isinstance(config, Config) else from_tree(dict(config))
    config, initial = with_initial_weights(config)
    source = source_of(config, x, None if initial is None else initial.preprocessing)
    given = config.data if x is None else dataclasses.replace(config.data, source="")
    if not is_dataset(x) and (ignored := ignored_options(given, source)):  # whose images have been brought to size
        warnings.warn(ignored, stacklevel=2)
    in_memory = source.world is None and source.batches is None
    for note in unequal_rows(source.arrays["x"]) if in_memory else ():
        warnings.warn(note, stacklevel=2)
    config = resolve(config, source)
    if initial is not None:
        check_initial_weights(initial, config, source)
    recipe = preprocessing_of(config.data, source.shape) if initial is None else initial.preprocessing

    def of_raw(encoder: Encoder) -> Encoder:
        return dataclasses.replace(of_raw_samples(encoder, config.data.offset), preprocessing=recipe)

    looks = None if callback is None else lambda step, means, encoder: callback(step, means, of_raw(encoder))
    return of_raw(fit_source(config, source, looks, every, None if initial is None else initial.params))


def fit_source(
    config: Config,
    source: Source,
    callback: Callback | None = None,
    every: int = STEPS_PER_DISPATCH,
    initial: Any = None,
) -> Encoder:
    """Train a resolved config on a source, as `fit` does, from random weights or those in `initial`.

    The encoder takes samples less `data.offset`, as the source has them.

    Raises:
      ConfigError: If sizes are incompatible, or the loss is not finite.
    """
    mesh = training_mesh(Mesh(devices=1))
    check_batch(source.batch_size, config.optim.accumulate, mesh)
    trainer = make_trainer(config, source, initial=initial)
    inputs = InputPipeline(source, mesh, None)
    state, step, window = trainer.init(), 0, []
    try:
        while step < config.steps:
            stop = min(step - step % every + every, step + STEPS_PER_DISPATCH, config.steps)
            state, rows = inputs.advance(trainer, state, step, stop)
            window.append(rows)
            if not np.isfinite(rows).all():
                raise ConfigError(
                    f"the loss is not finite by step {stop}; try a lower `optim.lr` or `optim.clip_norm` 1"
                )
            step = stop
            if step % every == 0 or step == config.steps:
                values = np.concatenate(window).mean(axis=0)
                means: dict[str, float] = {name: float(v) for name, v in zip(METRICS, values, strict=True)}
                window = []
                if callback is not None:
                    # Pass a copy, because the next dispatch reuses the buffers of the state.
                    callback(step, means, jax.tree.map(jnp.copy, trainer.encoder(state)))
    finally:
        inputs.close()
    if said := inputs.unreadable():
        warnings.warn(said, stacklevel=3)
    return trainer.encoder(state)


def source_of(config: Config, x: Any = None, preprocessing: Preprocessing | None = None) -> Source:
    """Return the source of the samples [N, ...] in memory, or of those that the config names.

    Raises:
      ConfigError: If the samples are invalid.
    """
    if x is None:
        return open_source(config.data, config.seed, preprocessing=preprocessing)
    samples = as_samples(x, config.data, preprocessing, offset=config.data.offset or None)
    return from_samples(samples, dataclasses.replace(config.data, source="x"))
