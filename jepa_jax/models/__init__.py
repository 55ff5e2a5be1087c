"""Encoders and predictors, implemented in Flax NNX and used as pure functions of a plain dict of arrays."""

from jepa_jax.models.build import Model, build, build_linear_map, build_mlp, standardised

__all__ = ["Model", "build", "build_linear_map", "build_mlp", "standardised"]
