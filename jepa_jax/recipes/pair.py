"""Prediction of the embedding of each of two views from the other."""

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build_mlp
from jepa_jax.recipes.base import Loss, Outcome, Params, Recipe, Setting
from jepa_jax.views import Views


def _check(options: cfg.Pair, encoder: cfg.Encoder, views: cfg.Views) -> None:
    if isinstance(views, cfg.Crops) and (total := views.global_views + views.local_views) != 2:
        raise ConfigError(f"`recipe.kind` pair compares two views, not {total}; use multiview")


def _networks(options: cfg.Pair, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    return {"predictor": build_mlp((dim, *options.predictor, dim))} if options.predictor else {}


def _loss(setting: Setting) -> Loss:
    """Return the loss: the mean distance of both predictions, which are equal without a teacher and a predictor."""
    embed, predictor = setting.embed, setting.networks.get("predictor")

    def loss(params: Params, teacher: Params, extra: Params, views: Views, key: Array, progress: Array) -> Outcome:
        del key, progress
        z = embed(params, views)
        targets = z if teacher is params else embed(teacher, views)
        p = z
        if predictor is not None:
            p = jax.vmap(jax.vmap(predictor.apply, (None, 0)), (None, 0))(params["predictor"], z)
            if setting.sphere:
                p = p * jax.lax.rsqrt(jnp.sum(p**2, axis=-1, keepdims=True) + 1e-12)
        return Outcome(objectives.prediction(p, targets[::-1]), z, extra)

    return loss


PAIR = Recipe(_check, _networks, _loss)
