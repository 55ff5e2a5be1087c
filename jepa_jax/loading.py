"""One way to name an encoder: a training run, a converted model, or foreign weights."""

from pathlib import Path
from typing import Any

import jax

from jepa_jax.checkpoint import restore, saved_steps, values
from jepa_jax.config import Config
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing, centre_square
from jepa_jax.recipes import build_networks, followed, init_networks, weights_path
from jepa_jax.resolve import base_distribution
from jepa_jax.run_dir import CONFIG_FILE, kind_of, read_config


def load(model: str | Path, *, weights: str | None = None, step: str | None = None, **options: Any) -> Encoder:
    """The encoder that a path leads to.

    Args:
      model: a directory made by `python -m train` or `python -m jepa_jax.pretrained`, or foreign weights: a Hugging
        Face directory, or an original file of I-JEPA, DINOv2 or MetaCLIP.
      weights: of a training run, `raw` or `ema`, the moving average; None takes what its recipe has as its result.
      step: of a training run, the checkpoint: its step, `best`, or None for the newest.
      options: of foreign weights, what the file does not say: `family`, `arch`, `heads`, `image_size`, `branch`,
        `positions`, as in `jepa_jax.pretrained.Options`.

    Returns:
      A pure function of one sample, with its weights; `encoder.preprocess(image)` makes the sample of a picture.

    Raises:
      ConfigError: there is no model, or it cannot be read.
      TypeError: an unknown option, or one for a model that is not foreign.
    """
    path = Path(model)
    kind = kind_of(path)
    if kind != "run" and (weights is not None or step is not None):
        raise ConfigError(f"{path} was trained elsewhere and has one set of weights; leave out `weights` and `step`")
    if kind != "foreign":
        if options:
            raise TypeError(f"{', '.join(options)}: only foreign weights take options, and {path} is no such file")
        if kind == "run":
            return load_run(path, weights, step)
        from jepa_jax.pretrained import load_directory  # here: a run needs none of the families

        return load_directory(path)
    from jepa_jax.pretrained import Options, convert

    return convert(path, Options(**options)).encoder


def load_run(run: Path, weights: str | None = None, step: str | None = None) -> Encoder:
    """The trained encoder of a run directory.

    Args:
      run: a directory made by `python -m train`.
      weights: `raw`, `ema`, or None for what the run's recipe takes as its result.
      step: of the checkpoint: a number, `best`, or None for the newest.

    Raises:
      ConfigError: not a run directory, no checkpoint yet or no such one, a damaged one, or no moving average where it
        is asked for.
    """
    config, shape = read_config(run)
    number = _chosen(run, step)
    networks = build_networks(config, shape)
    params = jax.eval_shape(lambda: init_networks(networks, jax.random.key(0)))
    item, *_ = path = weights_path(config, weights)
    abstract = {"params": params, "teacher": followed(params), "ema": params["encoder"]}[item]
    found = restore(run, number, {item: abstract})
    for name in path:
        found = found[name]
    model = networks["encoder"]
    return Encoder(
        found,
        model.apply,
        shape,
        model.dim,
        base_distribution(config),
        model.null_directions,
        preprocessing=_as_read(config, shape),
    )


def _as_read(config: Config, shape: tuple[int, ...]) -> Preprocessing | None:
    """How the pictures of a stream were brought to their size; None for what had its size already."""
    size = config.data.size
    if size is None or shape[:2] != (size, size) or len(shape) != 3:
        return None
    return centre_square(size, shape[2])


def _chosen(run: Path, step: str | None) -> int:
    steps, judged = saved_steps(run), values(run)
    if not steps:
        raise ConfigError(f"{run} has no checkpoint yet; train it first")
    if step is None:
        return steps[-1]
    if step == "best":
        if not judged:
            raise ConfigError(f"{run} has no best checkpoint: none was judged by a metric; name a step of {steps}")
        return max(judged, key=lambda s: (judged[s], s))
    if not step.isdigit() or int(step) not in steps:
        raise ConfigError(f"{run} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}, or take best")
    return int(step)


def training_config(model: str | Path) -> Config | None:
    """How a model was trained here; None where it was trained elsewhere.

    Raises:
      ConfigError: as `kind_of`.
    """
    path = Path(model)
    return read_config(path)[0] if kind_of(path) == "run" else None


def fingerprint(model: str | Path) -> list[Any]:
    """What changes when the weights that a path leads to change; their bytes are not read.

    Raises:
      ConfigError: as `kind_of`.
    """
    path = Path(model)
    if kind_of(path) != "foreign":
        return [(path / CONFIG_FILE).read_text(), saved_steps(path)]
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
