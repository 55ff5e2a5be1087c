"""Targets of masked recipes: one target for each token of a sample."""

from jepa_jax.targets.gradient import gradient_targets
from jepa_jax.targets.pixels import pixel_targets
from jepa_jax.targets.products import product_targets, whitening
from jepa_jax.targets.tokens import Targets, normed, token_targets

__all__ = ["Targets", "gradient_targets", "normed", "pixel_targets", "product_targets", "token_targets", "whitening"]
