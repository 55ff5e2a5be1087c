"""From what a config leaves open to what a run does."""

import math
from dataclasses import replace

from jepa_jax.config import Config
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError
from jepa_jax.objectives import TERMS
from jepa_jax.objectives import build as build_term


def resolve(config: Config, source: Source) -> Config:
    """The config with every default that depends on the data or the objective filled in.

    Raises:
      ConfigError: the anti-collapse term and the output do not go together.
    """
    options = config.objective
    term = TERMS[options.anti_collapse]
    output = term.output if config.encoder.output == "auto" else config.encoder.output
    if output == "free" and term.output == "sphere":
        raise ConfigError(
            f"`objective.anti_collapse` {options.anti_collapse} works on the sphere; leave out `encoder.output` free"
        )
    built = build_term(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    if options.projector:
        output = "free"  # what has to lie on the sphere then is the projection
    size = math.prod(source.shape)
    dim = config.encoder.dim or max(16, min(128, 4 * size))
    if options.recipe == "masked":
        dim = config.encoder.dim or config.encoder.width  # the mean of the tokens that are predicted
        _refuse_for_masked(config)
    if options.recipe in ("multiview", "distill") and config.views.kind == "noise" and config.views.local_views:
        raise ConfigError("`views.local_views` needs `views.kind` crops")
    if config.views.kind == "crops":
        _refuse_for_crops(config, source)
    return replace(
        config,
        data=replace(config.data, batch_size=source.batch_size),
        encoder=replace(config.encoder, dim=dim, output=output),
        objective=replace(options, weight=built.weight),
    )


def _refuse_for_masked(config: Config) -> None:
    for name, wrong in (
        ("projector", bool(config.objective.projector)),
        ("predictor", bool(config.objective.predictor)),
    ):
        if wrong:
            raise ConfigError(f"`objective.{name}` is for other recipes; masked has a predictor of its own")
    if config.views.kind == "crops" and config.views.global_views + config.views.local_views != 1:
        raise ConfigError("`objective.recipe` masked takes one view: `views.global_views` 1 `views.local_views` 0")


def _refuse_for_crops(config: Config, source: Source) -> None:
    shape, views = source.shape, config.views
    if len(shape) != 3 or shape[2] not in (1, 3) or shape[0] != shape[1]:
        raise ConfigError(f"`views.kind` crops needs square images, and samples here have shape {list(shape)}")
    if views.global_views < 1 or views.local_views < 0:
        raise ConfigError("`views.global_views` must be at least 1 and `views.local_views` not negative")
    if views.local_size is not None and views.local_size != shape[0]:
        patch = config.encoder.patch_size
        if config.encoder.kind != "vit":
            raise ConfigError("`views.local_size` needs `encoder.kind` vit, which takes images of any size")
        if views.local_size < patch or views.local_size % patch:
            raise ConfigError(f"`views.local_size` is {views.local_size}; it must be a multiple of a patch, {patch}")
    total = views.global_views + views.local_views
    if config.objective.recipe == "pair" and total != 2:
        raise ConfigError(f"`objective.recipe` pair compares two views, not {total}; take multiview")


def weights_path(config: Config, which: str | None = None) -> tuple[str, ...]:
    """Where the encoder's weights are in a run's state.

    Args:
      which: `raw`; `ema`, a moving average; None, what the recipe takes as its result: the average of `optim.average`
        where there is one, else the teacher of a recipe whose targets are its result, else the raw ones.

    Raises:
      ConfigError: the run has no moving average.
    """
    average, teacher = bool(config.optim.average), bool(config.objective.ema)
    if which == "ema" and not (average or teacher):
        raise ConfigError("this run kept no moving average; take `weights` raw")
    if which != "raw" and average:
        return ("average",)
    if which != "raw" and teacher and (which == "ema" or config.objective.recipe in ("masked", "distill")):
        return ("target", "encoder")
    return ("params", "encoder")


def views_read(config: Config) -> int | None:
    """Views of an example that a config's recipe reads; None for all."""
    return 1 if config.objective.recipe == "masked" else None


def law(config: Config) -> str | None:
    """The law that a resolved config's objective drives its embedding to, or None.

    A free-output term's law does not survive being forced onto the sphere, nor does any with another's output.
    """
    if config.objective.projector:
        return None  # it is the projection's, not the embedding's
    term = TERMS[config.objective.anti_collapse]
    return term.law if term.output == config.encoder.output else None
