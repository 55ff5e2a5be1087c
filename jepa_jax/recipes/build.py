"""From a resolved config to its networks and its loss, and which weights are a run's result."""

import jax
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build, build_mlp
from jepa_jax.objectives import TERMS
from jepa_jax.recipes.base import Embed, Loss, Params, Recipe, Setting, computing_in
from jepa_jax.recipes.distill import DISTILL
from jepa_jax.recipes.masked import MASKED
from jepa_jax.recipes.multiview import MULTIVIEW
from jepa_jax.recipes.pair import PAIR

RECIPES: dict[str, Recipe] = {"pair": PAIR, "multiview": MULTIVIEW, "masked": MASKED, "distill": DISTILL}


def build_networks(config: cfg.Config, shape: tuple[int, ...]) -> dict[str, Model]:
    """Every network of a resolved config.

    Args:
      config: resolved.
      shape: of one sample.

    Returns:
      `encoder`, and where the recipe has them `projector`, `predictor` (of embeddings, or of tokens) and `head` (from
      an embedding to logits over prototypes).

    Raises:
      ConfigError: sizes that do not go together.
    """
    options, remat = config.recipe, config.optim.remat
    encoder = build(config.encoder, shape, config.encoder.output, remat)
    networks, dim = {"encoder": encoder}, encoder.dim
    if projector := getattr(options, "projector", ()):
        networks["projector"] = build_mlp((dim, *projector))
        dim = projector[-1]
    return networks | RECIPES[options.kind].networks(options, encoder, dim, remat)


def init_networks(
    networks: dict[str, Model], key: Array, mean: Array | float = 0.0, scale: Array | float = 1.0
) -> Params:
    """Random weights of each network; `mean` and `scale` standardise the encoder's input."""
    encoder_key, key = jax.random.split(key)
    params = {"encoder": networks["encoder"].init(encoder_key, mean, scale)}
    others = [name for name in networks if name != "encoder"]
    # One other network takes the key as it is: a run with a predictor stays the run it was.
    keys = [key] if len(others) == 1 else jax.random.split(key, len(others)) if others else []
    return params | {name: networks[name].init(k) for name, k in zip(others, keys, strict=True)}


def followed(params: Params) -> Params:
    """The networks that the teacher follows: all from the sample to what is predicted."""
    return {name: params[name] for name in ("encoder", "projector", "head") if name in params}


def build_loss(config: cfg.Config, networks: dict[str, Model]) -> tuple[Loss, Params]:
    """The loss of a resolved config, and what it carries at the first step beside parameters."""
    options = config.recipe
    networks = {name: computing_in(config.optim.compute, network) for name, network in networks.items()}
    projected = TERMS[config.objective.anti_collapse].output == "sphere"
    embed = Embed(networks, projected, config.optim.accumulate)
    sphere = config.encoder.output == "sphere" or (bool(getattr(options, "projector", ())) and projected)
    recipe = RECIPES[options.kind]
    return recipe.loss(Setting(options, networks, embed, sphere)), recipe.extra(options)


def weights_path(config: cfg.Config, which: str | None = None) -> tuple[str, ...]:
    """Where the encoder's weights are in a run's state.

    Args:
      config: of the run.
      which: `raw`; `ema`, a moving average; None, what the recipe takes as its result: the average of `optim.ema` where
        there is one, else the teacher of a recipe whose result it is, else the raw ones.

    Raises:
      ConfigError: the run has no moving average.
    """
    average, teacher = bool(config.optim.ema), bool(config.recipe.ema)
    if which == "ema" and not (average or teacher):
        raise ConfigError("this run kept no moving average; take `weights` raw")
    if which != "raw" and average:
        return ("ema",)
    if which != "raw" and teacher and (which == "ema" or RECIPES[config.recipe.kind].teacher_is_result):
        return ("teacher", "encoder")
    return ("params", "encoder")
