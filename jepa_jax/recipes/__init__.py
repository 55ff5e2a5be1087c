"""Recipes: what is predicted from what.

A new recipe needs a new file in this folder and an entry in `build.RECIPES`.
"""

from jepa_jax.models.trained import as_encoder, of_raw_samples, weighted
from jepa_jax.recipes.base import Batch, Loss, Outcome, Params, Recipe, Setting
from jepa_jax.recipes.build import RECIPES, build_loss, build_networks, followed, init_networks, weights_path
from jepa_jax.recipes.masked import mask_metrics

__all__ = [
    "RECIPES",
    "Batch",
    "Loss",
    "Outcome",
    "Params",
    "Recipe",
    "Setting",
    "as_encoder",
    "build_loss",
    "build_networks",
    "followed",
    "init_networks",
    "mask_metrics",
    "of_raw_samples",
    "weighted",
    "weights_path",
]
