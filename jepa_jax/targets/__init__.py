"""Targets of masked recipes: one target for each token of a sample."""

from jepa_jax.targets.tokens import token_targets

__all__ = ["token_targets"]
