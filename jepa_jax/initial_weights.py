"""Weights of a trained model from which another training starts, by the field `init_from` of a config."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from jepa_jax import config as cfg
from jepa_jax.config_json import flatten
from jepa_jax.data import Source, is_stream
from jepa_jax.errors import ConfigError
from jepa_jax.images import Preprocessing
from jepa_jax.loading import load_run, model_folder
from jepa_jax.recipes import build_networks
from jepa_jax.run_dir import kind_of, read_config, read_initial

Params = dict[str, Any]


class InitialWeights(NamedTuple):
    """Encoder from whose weights a training starts.

    Attributes:
      model: Path of the model.
      encoder: Encoder section of a config, which describes the network.
      params: Weights of the encoder, among them the constants that standardise its input.
      shape: Shape of one sample.
      preprocessing: Resize and crop of the model, with colours in [0, 1]; None if it has none.
      columns: Names of the columns of the table on which it was trained, or ().
      origin: Description of where foreign weights came from, as JSON; or None.
    """

    model: str
    encoder: cfg.Encoder
    params: Params
    shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    columns: tuple[str, ...] = ()
    origin: dict[str, Any] | None = None


def read_initial_weights(model: str, size: int | None = None) -> InitialWeights:
    """Read the weights of a run, of a converted model or of foreign weights.

    The input of a foreign encoder is standardised by its preprocessing; here the encoder does so itself, so that it is
    a function of colours in [0, 1], on which views act.

    Args:
      model: Path of the model.
      size: Side of the images in pixels, if foreign weights are to take another than their own.

    Raises:
      ConfigError: If there is no model, or it cannot be read.
    """
    try:
        path = model_folder(model)
        kind = kind_of(path)
    except ConfigError as error:
        raise ConfigError(f"`init_from`: {error}") from None
    if kind == "run":
        config, shape = read_config(path)
        encoder = load_run(path)
        origin = (read_initial(path) or {}).get("origin")
        return InitialWeights(
            model, config.encoder, encoder.params, shape, encoder.preprocessing, config.data.columns, origin
        )
    from jepa_jax.pretrained import Options, convert, read_directory  # imported here, because a run does not need it

    found = read_directory(path) if kind == "converted" else convert(path, Options(image_size=size))
    vit, recipe = found.config, found.preprocessing
    shared = {f.name: getattr(vit, f.name) for f in dataclasses.fields(vit) if f.name not in NOT_OF_THE_SECTION}
    section = cfg.PretrainedViT(dim=vit.dim, **shared)
    ones = np.ones(vit.shape, np.float32)
    mean, std = (0.0, 1.0) if recipe is None else (np.array(v, np.float32) for v in (recipe.mean, recipe.std))
    if recipe is not None:
        zero, one = (0.0,) * recipe.channels, (1.0,) * recipe.channels
        recipe = dataclasses.replace(recipe, mean=zero, std=one)
    params = {"network": found.params, "input": {"mean": mean * ones, "scale": std * ones}}
    return InitialWeights(model, section, params, vit.shape, recipe, (), found.origin)


NOT_OF_THE_SECTION = ("image_size", "channels", "remat")  # fields of `models.vit.ViT` that the data or a run determine


def with_initial_weights(
    config: cfg.Config, default: cfg.Config | None = None
) -> tuple[cfg.Config, InitialWeights | None]:
    """Return the config with the encoder of the model in `init_from`, and the weights; None if it names no model.

    Args:
      config: Config.
      default: Config whose values nobody chose, such as that of a name on the command line. A value of the encoder that
        differs from it is a choice, which must be that of the model. None: the defaults of the fields.

    Raises:
      ConfigError: If the model cannot be read, or contradicts the config.
    """
    if config.init_from is None:
        return config, None
    default = default or cfg.Config()
    size = config.data.size if config.data.size != default.data.size else None
    initial = read_initial_weights(config.init_from, size)
    section = initial.encoder
    _check_choices(config, default, initial)
    # The output is no part of the weights: it is what the anti-collapse term requires.
    output = config.encoder.output if isinstance(section, type(config.encoder)) else "auto"
    data, shape = config.data, initial.shape
    if initial.preprocessing is not None and len(shape) == 3 and shape[0] == shape[1] and is_stream(data):
        if size not in (None, shape[0]):
            raise ConfigError(f"`data.size` is {size}, and {initial.model} takes images of {shape[0]} pixels")
        data = dataclasses.replace(data, size=shape[0], channels=shape[2])
    encoder: Any = section
    return dataclasses.replace(config, encoder=dataclasses.replace(encoder, output=output), data=data), initial


def check_initial_weights(initial: InitialWeights, config: cfg.Config, source: Source) -> None:
    """Check that the weights fit the samples and the network of a resolved config.

    Raises:
      ConfigError: If they do not.
    """
    if initial.shape != source.shape:
        raise ConfigError(
            f"`init_from`: {initial.model} takes samples of shape {list(initial.shape)}, and those of the data have "
            f"shape {list(source.shape)}"
        )
    if initial.columns and source.columns and initial.columns != source.columns:
        raise ConfigError(
            f"`init_from`: {initial.model} takes the columns {', '.join(initial.columns)}, and those of "
            f"{config.data.source} are {', '.join(source.columns)}; set `data.columns`"
        )
    network = build_networks(config, source.shape)["encoder"]
    abstract = jax.eval_shape(lambda: network.init(jax.random.key(0), features=source.row_features))
    want, have = (jax.tree.map(np.shape, tree) for tree in (abstract, initial.params))
    if want != have:
        raise ConfigError(f"`init_from`: the weights of {initial.model} do not fit the columns of {config.data.source}")


def description(initial: InitialWeights, config: cfg.Config) -> dict[str, Any]:
    """Return what a run took from a model and what starts anew, as JSON."""
    networks = build_networks(config, initial.shape)
    return {
        "model": initial.model,
        "taken": ["encoder"],
        "anew": [name for name in networks if name != "encoder"],
        "preprocessing": initial.preprocessing and initial.preprocessing.to_dict(),
        "origin": initial.origin,
    }


def sentence(described: dict[str, Any], count: int) -> str:
    """Return what a run took from a model, in words; `count` is the number of weights of the encoder."""
    anew = " and ".join(described["anew"])
    how = "" if described["preprocessing"] is None else ", which keeps the preprocessing of its pictures"
    return f"starts from {described['model']}: its encoder ({count:,} numbers){how}" + (
        f"; anew: {anew}" if anew else "; there is no other network"
    )


def _check_choices(config: cfg.Config, default: cfg.Config, initial: InitialWeights) -> None:
    """Check that what a config chooses of its encoder is what the model has.

    Raises:
      ConfigError: If it is not; the message names all such fields with both values.
    """
    chosen, model = config.encoder, initial.encoder
    if chosen.kind == default.encoder.kind:
        usual = default.encoder
    else:
        usual = type(chosen)()
        if not isinstance(model, type(chosen)):
            raise ConfigError(f"`encoder.kind` is {chosen.kind}, and that of {initial.model} is {model.kind}")
    before, now, theirs = (dict(flatten(dataclasses.asdict(section))) for section in (usual, chosen, model))
    wrong = [
        f"`encoder.{name}` is {value}, and that of {initial.model} is {theirs.get(name, f'of the kind {model.kind}')}"
        for name, value in now.items()
        if name not in ("kind", "output") and value != before[name] and value != theirs.get(name)
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))
