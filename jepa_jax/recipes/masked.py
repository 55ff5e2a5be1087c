"""Prediction of the normed tokens of hidden patches from those of visible patches.

Assran et al., "I-JEPA", arXiv 2301.08243.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.masking import LAWS, Law, Masks
from jepa_jax.models import Model
from jepa_jax.models.token_predictor import TokenPredictor
from jepa_jax.models.transformer import sincos_positions
from jepa_jax.recipes.base import Loss, Outcome, Params, Recipe, Setting, in_parts
from jepa_jax.targets import token_targets
from jepa_jax.views import Views

PREDICTOR_HEADS = 3


def _check(options: cfg.Masked, encoder: cfg.Encoder, views: cfg.Views) -> None:
    if not isinstance(encoder, cfg.ViT):
        raise ConfigError(f"`recipe.kind` masked hides patches, so it needs `encoder.kind` vit, not {encoder.kind}")
    if isinstance(views, cfg.Crops) and views.global_views + views.local_views != 1:
        raise ConfigError("`recipe.kind` masked takes one view; set `views.global_views` 1 and `views.local_views` 0")


def _networks(options: cfg.Masked, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    assert encoder.grid is not None
    _law(options, encoder.grid)  # checked before anything is compiled
    try:
        sizes = TokenPredictor(
            encoder.grid, dim, options.predictor_width, options.predictor_depth, PREDICTOR_HEADS, remat
        )
        jax.eval_shape(sizes.init, jax.random.key(0))
        sincos_positions(encoder.grid, options.predictor_width)
    except ValueError as error:
        raise ConfigError(f"`recipe.predictor_width` {options.predictor_width}: {error}") from None
    return {"predictor": Model(sizes.init, sizes.apply, dim)}


def _law(options: cfg.Masked, grid: tuple[int, int]) -> Law:
    """Return the distribution of the masks.

    Raises:
      ConfigError: If there are no such masks on this grid.
    """
    try:
        law = LAWS[options.mask.kind](options.mask)
        law.check(grid)
    except ValueError as error:
        raise ConfigError(f"`recipe.mask`: {error}") from None
    return law


def _loss(setting: Setting) -> Loss:
    """Return the loss: the squared error of predicted tokens, a mean over the tokens of a target and over targets."""
    options, encoder, predictor = setting.options, setting.networks["encoder"], setting.networks["predictor"]
    grid, tokens = encoder.grid, encoder.tokens
    assert grid is not None
    assert tokens is not None
    law, targets = _law(options, grid), token_targets(tokens)
    positions = jnp.asarray(sincos_positions(grid, options.predictor_width))

    def error(params: Params, teacher: Params, x: Array, masks: Masks) -> Array:
        wanted = targets(teacher["encoder"], x)
        context = tokens(params["encoder"], x, masks.context, masks.context_valid)

        def group(at: Array, valid: Array) -> Array:
            seen = (context, positions[masks.context], masks.context_valid)
            predicted = predictor.apply(params["predictor"], *seen, positions[at], valid)
            off = jnp.mean((predicted - wanted(at)) ** 2, axis=-1)
            counted = valid.astype(off.dtype)
            return jnp.sum(off * counted) / jnp.sum(counted)

        return jnp.mean(jax.vmap(group)(masks.targets, masks.targets_valid))

    def loss(params: Params, teacher: Params, extra: Params, views: Views, key: Array, progress: Array) -> Outcome:
        batch = views[0][0], jax.random.split(key, views[0].shape[1])
        some = _over_samples(error, law, grid, progress)
        errors = in_parts(some, setting.embed.accumulate)({"params": params, "teacher": teacher}, batch)
        # Embed whole samples: the mean of visible tokens also varies with the mask, which could hide a collapse.
        return Outcome(errors, setting.embed(params, (views[0][:1],)), extra)

    return loss


def _over_samples(
    error: Callable[..., Array], law: Law, grid: tuple[int, int], progress: Array
) -> Callable[[Params, tuple[Array, Array]], Array]:
    """Return a function (both networks, (samples, keys)) -> the error of each sample, with its own masks."""

    def one(both: Params, x: Array, key: Array) -> Array:
        return error(both["params"], both["teacher"], x, law.draw(key, grid, progress))

    return lambda both, batch: jax.vmap(one, (None, 0, 0))(both, *batch)


MASKED = Recipe(_check, _networks, _loss, teacher_is_result=True, views_read=1)
