"""Model and samples of a score run, and what is said about them before it begins."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jepa_jax.cli import as_flags
from jepa_jax.data import LazyImages, Samples, read_samples, schema_of
from jepa_jax.data.arrays import layout_hint
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.loading import load, load_run, training_config
from jepa_jax.pretrained.words import in_words
from jepa_jax.run_dir import kind_of

from .options import WEIGHT_OPTIONS, Arguments
from .seen import unseen_categories


def open_inputs(a: Arguments, console: Console) -> tuple[Encoder, Samples]:
    """Load the encoder and say what it is, and read the samples or the names of their files.

    Raises:
      ConfigError: If either cannot be read, or they do not fit each other.
    """
    encoder = open_encoder(a)
    say_origin(encoder, console)
    samples = some_of(a, open_samples(a, a.data, encoder, a.limit))
    if samples.x.shape[1:] != encoder.shape:
        raise ConfigError(
            f"{a.data} has samples of shape {list(samples.x.shape[1:])}, and {a.model} takes {list(encoder.shape)}"
            + layout_hint(samples.x.shape, encoder.shape)
        )
    return encoder, samples


def open_encoder(a: Arguments) -> Encoder:
    """Load the encoder, with the options for foreign weights.

    Raises:
      ConfigError: As in `load`, or if the model is not foreign and takes no such options.
    """
    given = {name: getattr(a, name) for name in WEIGHT_OPTIONS if getattr(a, name) is not None}
    if given and kind_of(Path(a.model)) != "foreign":
        names = ", ".join(f"`{name}`" for name in given)
        raise ConfigError(f"{names}: only foreign weights take options, and {a.model} was written by jepa_jax")
    if kind_of(Path(a.model)) == "run":  # the samples come without the offset of its data
        return load_run(Path(a.model), a.weights, a.step)
    return load(a.model, weights=a.weights, step=a.step, **given)


def open_samples(a: Arguments, name: str, encoder: Encoder, limit: int | None = None) -> Samples:
    """Read samples for the encoder, by the columns of its training if they are a table.

    Raises:
      ConfigError: As in `read_samples`.
    """
    config = training_config(a.model)
    return read_samples(
        name,
        limit,
        preprocessing=encoder.picture_preprocessing,
        max_pixels=a.max_pixels or (None if config is None else config.data.max_pixels),
        schema=None if config is None else schema_of(config.data),
    )


def some_of(a: Arguments, samples: Samples) -> Samples:
    """Return the samples that --sample draws, in the order of the data."""
    if a.sample is None or a.sample >= len(samples.x):
        return samples
    drawn = np.random.default_rng(a.sample_seed).choice(len(samples.x), a.sample, replace=False)
    return samples.take(np.sort(drawn))


def say_origin(encoder: Encoder, console: Console) -> None:
    """Print which encoder was taken from foreign weights, and what was assumed."""
    origin = encoder.origin
    if origin is None:
        return
    for line in in_words(origin, encoder.shape, encoder.dim, encoder.preprocessing):
        console.print(line, markup=False)
    for note in origin.get("notes", ()):
        console.print(f"note: {as_flags(note, Arguments)}", markup=False)


def told(encoder: Encoder) -> dict[str, Any]:
    """Return the entries of FILE.json about foreign weights."""
    recipe = encoder.preprocessing
    if encoder.origin is None:
        return {}
    return {"origin": encoder.origin, "preprocessing": None if recipe is None else recipe.to_dict()}


def say_if_unlike(a: Arguments, encoder: Encoder, samples: Samples, console: Console) -> list[str]:
    """Say what is unusual about the samples, for training did not have it or nothing can be judged by it.

    Returns:
      The sentences, for FILE.json.
    """
    notes = [*unseen_categories(training_config(a.model), samples), *samples.notes]
    for sentence in notes:
        console.print(f"note: {sentence}", markup=False)
    raw = raw_pixels(a, encoder, samples)
    if raw:
        console.print(f"warning: {raw}", markup=False)
    return [*notes, *([raw] if raw else [])]


def raw_pixels(a: Arguments, encoder: Encoder, samples: Samples) -> str:
    """Return a sentence if arrays that look like raw pixels go to an encoder of standardised images, or ""."""
    recipe, xs = encoder.preprocessing, samples.x
    if recipe is None or not recipe.standardises or isinstance(xs, LazyImages) or xs.min() < 0:
        return ""
    if samples.from_bytes:
        done = "scaled from bytes to [0, 1], and not standardised"
    elif xs.max() <= 255:
        done = f"passed unchanged, with values from {xs.min():.4g} to {xs.max():.4g}, and not standardised"
    else:
        return ""
    return (
        f"the arrays in {a.data} are {done} as a folder of images would be; this encoder expects "
        f"(x - mean) / std, with x in [0, 1], mean {list(recipe.mean)} and std {list(recipe.std)}"
    )
