"""From what a config leaves open to what a run does."""

import math
from dataclasses import replace

from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError
from jepa_jax.objectives import TERMS
from jepa_jax.objectives import build as build_term
from jepa_jax.recipes import RECIPES

LEAST_DIM, MOST_DIM = 16, 128  # of an embedding whose width follows from the data


def resolve(config: Config, source: Source) -> Config:
    """The config with every default that depends on the data or the objective filled in.

    Raises:
      ConfigError: sections that do not go together, or with the samples.
    """
    options, encoder = config.objective, config.encoder
    RECIPES[config.recipe.kind].check(config.recipe, encoder, config.views)
    if isinstance(config.views, cfg.Crops):
        _refuse_for_crops(config.views, encoder, source.shape)
    built = build_term(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    return replace(
        config,
        data=replace(config.data, batch_size=source.batch_size),
        encoder=replace(encoder, dim=_dim(config, source), output=_output(config)),
        objective=replace(options, weight=built.weight),
    )


def base_distribution(config: Config) -> str | None:
    """Distribution p(z) that a resolved config's objective drives its embedding to, or None.

    A free-output term's distribution does not survive being forced onto the sphere, nor does any with another's output.
    """
    if getattr(config.recipe, "projector", ()):
        return None  # it is the projection's, not the embedding's
    term = TERMS[config.objective.anti_collapse]
    return term.base if term.output == config.encoder.output else None


def _dim(config: Config, source: Source) -> int:
    """K, where the config leaves it open: the width of the tokens that are predicted, or 4 D within bounds."""
    encoder = config.encoder
    if config.recipe.kind == "masked" and isinstance(encoder, cfg.ViT):
        return encoder.dim or encoder.width
    return encoder.dim or max(LEAST_DIM, min(MOST_DIM, 4 * math.prod(source.shape)))


def _output(config: Config) -> str:
    """`free` or `sphere`.

    Raises:
      ConfigError: the anti-collapse term and the output do not go together.
    """
    name = config.objective.anti_collapse
    term = TERMS[name]
    output = term.output if config.encoder.output == "auto" else config.encoder.output
    if output == "free" and term.output == "sphere":
        raise ConfigError(f"`objective.anti_collapse` {name} works on the sphere; leave out `encoder.output` free")
    return "free" if getattr(config.recipe, "projector", ()) else output  # what lies on the sphere is the projection


def _refuse_for_crops(views: cfg.Crops, encoder: cfg.Encoder, shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[2] not in (1, 3) or shape[0] != shape[1]:
        raise ConfigError(f"`views.kind` crops needs square images, and samples here have shape {list(shape)}")
    size = views.local_size
    if size is not None and size != shape[0]:
        if not isinstance(encoder, cfg.ViT):
            raise ConfigError("`views.local_size` needs `encoder.kind` vit, which takes images of any size")
        if size < encoder.patch_size or size % encoder.patch_size:
            patch = encoder.patch_size
            raise ConfigError(f"`views.local_size` is {size}; it must be a multiple of a patch, {patch}")
