"""How good a density or an embedding is: agreement with the truth, rank, health, separation, baselines."""

from jepa_jax.evaluate.agreement import Agreement, agreement
from jepa_jax.evaluate.baselines import auroc, compressed_size, knn_distance, mahalanobis
from jepa_jax.evaluate.health import Health, diagnose, fold_fraction
from jepa_jax.evaluate.moments import Moments, effective_rank, moments

__all__ = [
    "Agreement",
    "Health",
    "Moments",
    "agreement",
    "auroc",
    "compressed_size",
    "diagnose",
    "effective_rank",
    "fold_fraction",
    "knn_distance",
    "mahalanobis",
    "moments",
]
