"""Random views of one sample, as pure functions of a key and an array."""

from jepa_jax.views.augment import Augmentation, augment, multi_crop, sample_keys
from jepa_jax.views.noise import jittered
from jepa_jax.views.pipeline import Pipeline, Views, build_pipeline

__all__ = ["Augmentation", "Pipeline", "Views", "augment", "build_pipeline", "jittered", "multi_crop", "sample_keys"]
