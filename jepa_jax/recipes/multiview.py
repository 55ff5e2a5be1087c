"""Prediction of the mean embedding of the large crops from every view.

Balestriero & LeCun, "LeJEPA", arXiv 2511.08544, section 5.
"""

import jax.numpy as jnp

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.models import Model
from jepa_jax.recipes.base import Batch, Loss, Outcome, Params, Recipe, Setting


def _check(options: cfg.Multiview, encoder: cfg.Encoder, views: cfg.Views) -> None:
    """Accept any views."""


def _networks(options: cfg.Multiview, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    return {}


def _loss(setting: Setting) -> Loss:
    """Return the loss: the distance of the embedding of every view from the mean embedding of the large crops."""
    embed = setting.embed

    def loss(params: Params, teacher: Params, extra: Params, batch: Batch) -> Outcome:
        views = batch.views
        z, large = embed(params, views), len(views[0])
        targets = z if teacher is params else embed(teacher, views[:1])
        centre = jnp.mean(targets[:large], axis=0, keepdims=True)
        return Outcome(objectives.prediction(z, jnp.broadcast_to(centre, z.shape)), z, extra)

    return loss


MULTIVIEW = Recipe(_check, _networks, _loss)
