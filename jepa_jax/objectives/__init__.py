"""Training objectives: the prediction term, and the anti-collapse terms, one per file."""

from jepa_jax.objectives.anti_collapse import TERMS, Term, build, term_of
from jepa_jax.objectives.distillation import centred, distillation, sinkhorn
from jepa_jax.objectives.prediction import distance, prediction

__all__ = ["TERMS", "Term", "build", "centred", "distance", "distillation", "prediction", "sinkhorn", "term_of"]
