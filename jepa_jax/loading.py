"""Loading of encoders by a path: to a training run, a converted model, or foreign weights."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jepa_jax.checkpoint import restore, saved_steps, values
from jepa_jax.config import Config
from jepa_jax.data import preprocessing_of
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.recipes import (
    as_encoder,
    build_networks,
    followed,
    init_networks,
    of_raw_samples,
    weighted,
    weights_path,
)
from jepa_jax.resolve import base_distribution
from jepa_jax.run_dir import CONFIG_FILE, kind_of, read_config, read_embeddings, read_export, read_initial, read_mixture


def load(model: str | Path, *, weights: str | None = None, step: str | None = None, **options: Any) -> Encoder:
    """Load the encoder at a path.

    Args:
      model: Directory made by `python -m train` or `python -m jepa_jax.pretrained`, or foreign weights: a Hugging Face
        directory, or an original file of I-JEPA, DINOv2 or MetaCLIP.
      weights: For a training run, `raw` or `ema` (a moving average); None selects those that its recipe defines as its
        result.
      step: For a training run, the checkpoint: its step, `best`, or None for the one that its config defines as its
        result, which is the newest or the best.
      **options: For foreign weights, what the file does not record: `family`, `arch`, `heads`, `image_size`, `branch`,
        `positions`, as in `jepa_jax.pretrained.Options`.

    Returns:
      Pure function of one sample that carries its weights; `encoder.preprocess(image)` converts a picture to a sample.

    Raises:
      ConfigError: If there is no model, or it cannot be read.
      TypeError: If an option is unknown, or the model is not foreign and takes no options.
    """
    path = model_folder(model)
    kind = kind_of(path)
    if kind != "run" and (weights is not None or step is not None):
        raise ConfigError(f"{path} was trained elsewhere and has one set of weights; leave out `weights` and `step`")
    if kind != "foreign":
        if options:
            raise TypeError(
                f"{', '.join(options)}: only foreign weights take options, and {path} was written by jepa_jax"
            )
        if kind == "run":
            return of_raw_samples(load_run(path, weights, step), read_config(path)[0].data.offset)
        from jepa_jax.pretrained import load_directory  # imported here, because a run does not need it

        return load_directory(path)
    from jepa_jax.pretrained import Options, convert

    return convert(path, Options(**options)).encoder


def load_run(run: Path, weights: str | None = None, step: str | None = None) -> Encoder:
    """Load the trained encoder of a run directory, for samples less `data.offset`, as the readers of data give them.

    Args:
      run: Directory made by `python -m train`.
      weights: `raw`, `ema`, or None for those that the run's recipe defines as its result.
      step: As in `load`.

    Raises:
      ConfigError: If this is not a run directory, the checkpoint does not exist or is damaged, or `ema` is requested
        but the run has no moving average.
    """
    config, shape = read_config(run)
    params = jax.eval_shape(lambda: init_networks(build_networks(config, shape), jax.random.key(0)))
    if (exported := read_export(run)) is not None:
        return _exported(run, exported, params["encoder"], weights, step)
    number = _chosen(run, step, config.checkpoint.result)
    item, *_ = path = weights_path(config, weights)
    abstract = {"params": params, "teacher": followed(params), "ema": params["encoder"]}[item]
    found = restore(run, number, {item: abstract})
    for name in path:
        found = found[name]
    encoder = encoder_with(config, shape, found, read_mixture(run, number))
    initial = read_initial(run)
    if initial is None or initial["preprocessing"] is None:
        return replace(encoder, preprocessing=preprocessing_of(config.data, shape))
    return replace(encoder, preprocessing=Preprocessing.from_dict(initial["preprocessing"]))


def _exported(run: Path, exported: dict[str, Any], abstract: Any, weights: str | None, step: str | None) -> Encoder:
    """Return the encoder of an exported run, which has one set of weights and its preprocessing."""
    from jepa_jax.pretrained.exported import load_weights  # imported here, because other runs do not need it

    if weights is not None or step is not None:
        raise ConfigError(f"{run} was exported and has one set of weights; leave out `weights` and `step`")
    encoder = encoder_with(*read_config(run), load_weights(run, abstract), exported["mixture"])
    recipe = exported["preprocessing"]
    return replace(encoder, preprocessing=recipe and Preprocessing.from_dict(recipe))


def result_step(run: Path) -> int:
    """Return the step of the checkpoint that is the result of a run.

    Raises:
      ConfigError: As in `load_run`.
    """
    return _chosen(run, None, read_config(run)[0].checkpoint.result)


def model_folder(model: str | Path) -> Path:
    """Return the folder of an exported model in the cache of a hub of models; other paths as they are."""
    from jepa_jax.pretrained.weight_files import snapshot  # imported here, because a run does not need it

    path = Path(model)
    if not os.path.isdir(path) or os.path.isfile(path / CONFIG_FILE):  # False for a name that no file can have
        return path
    inside = snapshot(path)
    return inside if (inside / CONFIG_FILE).is_file() and kind_of(inside) != "foreign" else path


def encoder_with(config: Config, shape: tuple[int, ...], params: Any, mixture: Any = None) -> Encoder:
    """Return the encoder of a resolved config with these weights.

    Args:
      config: Resolved config.
      shape: Shape of one sample.
      params: Weights of the encoder, known values.
      mixture: Weights [M] of the members in the density; None gives all the same.
    """
    model = build_networks(config, shape)["encoder"]
    encoder = as_encoder(model, params, shape, base_distribution(config), params["input"]["scale"])
    return encoder if mixture is None else weighted(encoder, mixture)


def training_embeddings(run: Path, weights: str | None = None, step: str | None = None) -> np.ndarray | None:
    """Return embeddings [n, K] of training samples by the weights that `load_run` loads, or None if none are kept.

    Raises:
      ConfigError: As in `load_run`.
    """
    config, _ = read_config(run)
    if weights_path(config, weights) != weights_path(config):
        return None
    exported = read_export(run)
    return read_embeddings(run, exported["step"] if exported else _chosen(run, step, config.checkpoint.result))


def _chosen(run: Path, step: str | None, result: str) -> int:
    """Return the step of the requested checkpoint."""
    steps, judged = saved_steps(run), values(run)
    if not steps:
        raise ConfigError(f"{run} has no checkpoint yet; train it first")
    if step is None:
        step = "best" if result == "best" and judged else str(steps[-1])
    if step == "best":
        if not judged:
            raise ConfigError(
                f"{run} has no best checkpoint: none was evaluated by a metric; choose one of the steps {steps}"
            )
        return max(judged, key=lambda s: (judged[s], s))
    if not step.isdigit() or int(step) not in steps:
        raise ConfigError(f"{run} has no checkpoint of step {step}; choose {', '.join(map(str, steps))} or best")
    return int(step)


def training_config(model: str | Path) -> Config | None:
    """Return the config with which a model was trained; None if it was trained elsewhere.

    Raises:
      ConfigError: As in `kind_of`.
    """
    path = Path(model)
    return read_config(path)[0] if kind_of(path) == "run" else None


def fingerprint(model: str | Path) -> list[Any]:
    """Return a value that changes when the weights at a path change; it is found without reading their bytes.

    Raises:
      ConfigError: As in `kind_of`.
    """
    path = Path(model)
    if kind_of(path) != "foreign":
        exported = path / "model.safetensors"  # in place of checkpoints
        size = exported.stat().st_size if exported.is_file() else None
        return [(path / CONFIG_FILE).read_text(), saved_steps(path), *([size] if size else [])]
    from jepa_jax.pretrained.weight_files import find, weight_files  # imported here, because a run does not need it

    beside = sorted(find(path).parent.glob("*.json")) if path.is_dir() else []
    files = [*weight_files(path), *beside]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
