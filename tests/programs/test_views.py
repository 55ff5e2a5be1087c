"""One pipeline of views: what score draws is what training draws, for every config."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jepa_jax.data import Samples, read_samples
from jepa_jax.data.abstract import abstract_source
from jepa_jax.recipes import RECIPES
from jepa_jax.resolve import resolve
from jepa_jax.run_dir import write_config, write_statistics
from jepa_jax.training.step import pipeline_of
from jepa_jax.worlds import WORLDS
from score.views import open_views, training_views
from train.config_files import config_names, find_config


def folder_of(name: str, path: Path):
    """Config and source of a run that was begun, in a folder with what training writes before its first step."""
    config = find_config(name)[1]
    data = dataclasses.replace(config.data, batch_size=4, source=config.data.source or "digits")
    if (data.size or 0) > 64:  # smaller pictures, for the time of compiling
        views = config.views
        local = {"local_size": 32} if getattr(views, "local_size", None) else {}
        data = dataclasses.replace(data, size=64)
        config = dataclasses.replace(config, views=dataclasses.replace(views, **local))
    source = abstract_source(data)
    config = resolve(dataclasses.replace(config, data=data), source)
    write_config(path, config, source.shape)
    write_statistics(path, {"mean": source.mean, "scale": source.scale, "noise": source.noise})
    return config, source


def samples_of(source_name: str, shape: tuple[int, ...]) -> Samples:
    if source_name in WORLDS:
        return read_samples(source_name, 3)
    return Samples(np.random.default_rng(0).random((3, *shape), np.float32))


# Those of related systems hide parts of samples instead of making views of them.
FAMILY = ("tjepa", "tsjepa", "ecgjepa", "ajepa", "brainjepa", "sarjepa", "stemjepa")
NAMES = [name for name in config_names() if name != "arrays" and not name.endswith(tuple(f"_{f}" for f in FAMILY))]


def made(name: str):
    """All that decides the views of a config."""
    config = find_config(name)[1]
    return config.views, config.data, RECIPES[config.recipe.kind].views_read(config.recipe)


def repeats(name: str) -> bool:
    """Whether an earlier config has the same views of the same data."""
    return made(name) in map(made, NAMES[: NAMES.index(name)])


CASES = [pytest.param(name, marks=pytest.mark.slow) if repeats(name) else name for name in NAMES]


@pytest.mark.parametrize("name", [*CASES, "cartpole_tsjepa"])
def test_score_draws_the_views_that_training_draws(name: str, tmp_path: Path) -> None:
    config, source = folder_of(name, tmp_path)
    samples = samples_of(config.data.source, source.shape)
    scoring, examples = training_views(tmp_path, config.data.source, samples)
    training, row = jax.jit(pipeline_of(config, source)), 2
    example = {column: array[row] for column, array in examples.items()}
    key = jax.random.key(7)
    drawn, wanted = jax.jit(scoring)(key, example), training(key, example)
    assert len(drawn) == len(wanted)
    for one, other in zip(drawn, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.abs(group - group[:1]).max() > 1e-3 for group in drawn) or len(drawn[0]) == 1
    # What is scored is one of them, and none of another shape.
    views = open_views(tmp_path, config.data.source, samples, 4)(0, 3)
    assert np.shape(views[0]) == source.shape
    assert len({np.asarray(views[m]).tobytes() for m in range(4)}) > 1


def test_a_masked_recipe_reads_one_view(tmp_path: Path) -> None:
    config, source = folder_of("sprites_ijepa", tmp_path)
    samples = samples_of("sprites", source.shape)
    pipeline, examples = training_views(tmp_path, "sprites", samples)
    (group,) = pipeline(jax.random.key(0), {name: column[0] for name, column in examples.items()})
    assert len(group) == 1
    assert config.recipe.kind == "masked"
