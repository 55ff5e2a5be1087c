"""Learned density of an encoder: Jacobian, singular values and JEPA-SCORE."""

from jepa_jax.density.aggregate import aggregate as aggregate_views
from jepa_jax.density.base_distribution import base_log_density
from jepa_jax.density.batches import (
    MemoryWarning,
    default_batch_size,
    score_all,
    score_batches,
    score_samples,
    trace_batch,
)
from jepa_jax.density.diagnostics import log_frobenius, top_singular_values
from jepa_jax.density.jacobian import jacobian
from jepa_jax.density.numerical_error import arithmetic_error
from jepa_jax.density.score import Score, evaluate, jepa_score, singular_values
from jepa_jax.density.sketch import (
    SketchResult,
    calibrated_sketch,
    is_constant,
    random_directions,
    rank_agreement,
    sketch_score,
)
from jepa_jax.density.tangent import estimate_tangents

__all__ = [
    "MemoryWarning",
    "Score",
    "SketchResult",
    "aggregate_views",
    "arithmetic_error",
    "base_log_density",
    "calibrated_sketch",
    "default_batch_size",
    "estimate_tangents",
    "evaluate",
    "is_constant",
    "jacobian",
    "jepa_score",
    "log_frobenius",
    "random_directions",
    "rank_agreement",
    "score_all",
    "score_batches",
    "score_samples",
    "singular_values",
    "sketch_score",
    "top_singular_values",
    "trace_batch",
]
