"""Encoders and predictors, written in Flax NNX and used as pure functions of a plain dict of arrays."""

from jepa_jax.models.build import Model, build, build_predictor
from jepa_jax.models.parts import build_parts, followed, init_parts

__all__ = ["Model", "build", "build_parts", "build_predictor", "followed", "init_parts"]
