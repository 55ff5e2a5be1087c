"""Recipes: what is predicted from what.

A new recipe needs a new file in this folder and an entry in `build.RECIPES`.
"""

from jepa_jax.recipes.base import Loss, Outcome, Recipe, Setting
from jepa_jax.recipes.build import RECIPES, build_loss, build_networks, followed, init_networks, weights_path

__all__ = [
    "RECIPES",
    "Loss",
    "Outcome",
    "Recipe",
    "Setting",
    "build_loss",
    "build_networks",
    "followed",
    "init_networks",
    "weights_path",
]
