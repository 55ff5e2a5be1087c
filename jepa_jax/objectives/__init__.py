"""Training objectives: the prediction term, and one anti-collapse term a file."""

from jepa_jax.objectives.criterion import CRITERIA, Criterion, build
from jepa_jax.objectives.distillation import centred, distillation, sinkhorn
from jepa_jax.objectives.prediction import prediction

__all__ = ["CRITERIA", "Criterion", "build", "centred", "distillation", "prediction", "sinkhorn"]
