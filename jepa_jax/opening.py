"""One way to name an encoder: a training run, a converted model, or foreign weights."""

import json
from pathlib import Path
from typing import Any, Literal

from jepa_jax.checkpoint import CONFIG_FILE, load_run, read_config, saved_steps
from jepa_jax.config import Config
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError

Kind = Literal["run", "converted", "foreign"]


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
        raise ConfigError(f"{path} was trained elsewhere and has one set of weights; leave out --weights and --step")
    if kind != "foreign":
        if options:
            raise TypeError(f"{', '.join(options)}: only foreign weights take options, and {path} is no such file")
        if kind == "run":
            return load_run(path, weights, step)
        from jepa_jax.pretrained import load_directory  # here: a run needs none of the families

        return load_directory(path)
    from jepa_jax.pretrained import Options, convert

    return convert(path, Options(**options)).encoder


def kind_of(path: Path) -> Kind:
    """What a path leads to, by its config.json.

    Raises:
      ConfigError: nothing, or a directory that is none of the three.
    """
    if path.is_file():
        return "foreign"
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist; a model is a directory made by python -m train, or weights")
    try:
        tree = json.loads((path / CONFIG_FILE).read_text())
    except FileNotFoundError:
        tree = None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / CONFIG_FILE} is damaged: {error}") from None
    if isinstance(tree, dict) and "sample_shape" in tree:
        return "converted" if "vit" in tree else "run"
    if tree is None and not any(p.suffix in (".safetensors", ".bin", ".json") for p in path.iterdir()):
        raise ConfigError(f"{path} is not a run directory: it has no {CONFIG_FILE}, and it holds no weights")
    return "foreign"


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
