"""Networks and loss of a resolved config, and the weights that are the result of a run."""

import jax
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build, build_mlp
from jepa_jax.objectives import term_of
from jepa_jax.recipes.base import Embed, Loss, Params, Recipe, Setting, computing_in, with_log_volume
from jepa_jax.recipes.distill import DISTILL
from jepa_jax.recipes.masked import MASKED
from jepa_jax.recipes.multiview import MULTIVIEW
from jepa_jax.recipes.pair import PAIR

RECIPES: dict[str, Recipe] = {"pair": PAIR, "multiview": MULTIVIEW, "masked": MASKED, "distill": DISTILL}


def build_networks(config: cfg.Config, shape: tuple[int, ...]) -> dict[str, Model]:
    """Build every network of a resolved config.

    Args:
      config: Resolved config.
      shape: Shape of one sample.

    Returns:
      `encoder`, and if the recipe has them `projector`, `predictor` (of embeddings or of tokens) and `head` (from an
      embedding to logits over prototypes).

    Raises:
      ConfigError: If sizes are incompatible.
    """
    options, remat = config.recipe, config.optim.remat
    encoder = build(config.encoder, shape, config.encoder.output, remat)
    networks, dim = {"encoder": encoder}, encoder.dim
    if projector := getattr(options, "projector", ()):
        networks["projector"] = build_mlp((dim, *projector))
        dim = projector[-1]
    return networks | RECIPES[options.kind].networks(options, encoder, dim, remat)


def init_networks(
    networks: dict[str, Model],
    key: Array,
    mean: Array | float = 0.0,
    scale: Array | float = 1.0,
    quantiles: Array | None = None,
    features: np.ndarray | None = None,
) -> Params:
    """Return random weights of each network; the other arguments are those of the encoder's `init`."""
    encoder_key, key = jax.random.split(key)
    params = {"encoder": networks["encoder"].init(encoder_key, mean, scale, quantiles, features)}
    others = [name for name in networks if name != "encoder"]
    # A single other network takes the key unsplit, so that earlier runs with a predictor are reproduced.
    keys = [key] if len(others) == 1 else jax.random.split(key, len(others)) if others else []
    return params | {name: networks[name].init(k) for name, k in zip(others, keys, strict=True)}


def followed(params: Params) -> Params:
    """Return the parameters that the teacher averages: those of all networks from the sample to the targets."""
    return {name: params[name] for name in ("encoder", "projector", "head") if name in params}


def build_loss(config: cfg.Config, networks: dict[str, Model]) -> tuple[Loss, Params]:
    """Return the loss of a resolved config, and the values other than parameters that it carries, at the first step."""
    options = config.recipe
    networks = {name: computing_in(config.optim.compute, network) for name, network in networks.items()}
    term = term_of(config.objective.anti_collapse)
    projected = term.output == "sphere"
    embed = Embed(networks, projected, config.optim.accumulate)
    sphere = config.encoder.output in ("sphere", "torus") or (bool(getattr(options, "projector", ())) and projected)
    recipe = RECIPES[options.kind]
    objective = config.objective
    on_tokens = objective.anti_collapse_on == "tokens"
    setting = Setting(options, networks, embed, sphere, objective.distance, on_tokens, term.contrasts)
    loss = recipe.loss(setting)
    if config.objective.anti_collapse == "entropy":
        loss = with_log_volume(loss, networks["encoder"])
    return loss, recipe.extra(options)


def weights_path(config: cfg.Config, which: str | None = None) -> tuple[str, ...]:
    """Return the path of the encoder's weights in the state of a run.

    Args:
      config: Config of the run.
      which: `raw`; `ema`, a moving average; or None, the result of the recipe: the average of `optim.ema` if there is
        one, else the teacher if the recipe defines it as its result, else the raw weights.

    Raises:
      ConfigError: If `ema` is requested but the run has no moving average.
    """
    average, teacher = bool(config.optim.ema), bool(config.recipe.ema)
    if which == "ema" and not (average or teacher):
        raise ConfigError("this run has no moving average; use `weights` raw")
    if which != "raw" and average:
        return ("ema",)
    if which != "raw" and teacher and (which == "ema" or RECIPES[config.recipe.kind].teacher_is_result):
        return ("teacher", "encoder")
    return ("params", "encoder")
