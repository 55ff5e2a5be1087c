"""Reading the density off an encoder: Jacobian, singular values, score."""

from jepa_jax.density.jacobian import jacobian
from jepa_jax.density.law import log_law
from jepa_jax.density.score import (
    Score,
    default_batch_size,
    evaluate,
    jepa_score,
    score_batches,
    score_samples,
    singular_values,
)

__all__ = [
    "Score",
    "default_batch_size",
    "evaluate",
    "jacobian",
    "jepa_score",
    "log_law",
    "score_batches",
    "score_samples",
    "singular_values",
]
