"""How good a density or an embedding is: agreement with the truth, rank, health, law, probes, separation, baselines."""

from jepa_jax.evaluate.agreement import Agreement, agreement
from jepa_jax.evaluate.baselines import auroc, compressed_size, knn_distance, mahalanobis
from jepa_jax.evaluate.corruptions import CORRUPTIONS, corrupt
from jepa_jax.evaluate.gaussianity import slice_statistic, sphere_slice_statistic
from jepa_jax.evaluate.health import Health, diagnose, fold_fraction
from jepa_jax.evaluate.moments import Moments, effective_rank, moments
from jepa_jax.evaluate.probes import knn_accuracy, linear_probe, pca

__all__ = [
    "CORRUPTIONS",
    "Agreement",
    "Health",
    "Moments",
    "agreement",
    "auroc",
    "compressed_size",
    "corrupt",
    "diagnose",
    "effective_rank",
    "fold_fraction",
    "knn_accuracy",
    "knn_distance",
    "linear_probe",
    "mahalanobis",
    "moments",
    "pca",
    "slice_statistic",
    "sphere_slice_statistic",
]
