"""Reading the density off an encoder: Jacobian, singular values, score."""

from jepa_jax.density.batches import data_mesh, default_batch_size, score_batches, score_samples, shard_parameters
from jepa_jax.density.jacobian import jacobian
from jepa_jax.density.law import log_law
from jepa_jax.density.score import Score, evaluate, jepa_score, singular_values

__all__ = [
    "Score",
    "data_mesh",
    "default_batch_size",
    "evaluate",
    "jacobian",
    "jepa_score",
    "log_law",
    "score_batches",
    "score_samples",
    "shard_parameters",
    "singular_values",
]
