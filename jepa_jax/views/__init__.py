"""Random views of one sample, as pure functions of a key and an array."""

from jepa_jax.views.augment import Augmentation, augment, multi_crop, sample_keys
from jepa_jax.views.noise import jittered

__all__ = ["Augmentation", "augment", "jittered", "multi_crop", "sample_keys"]
