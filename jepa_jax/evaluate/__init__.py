"""Evaluation of densities and embeddings.

It covers agreement with the exact density, rank, health, distribution, probes, separation and baselines.
"""

from jepa_jax.evaluate.agreement import LEAST_SAMPLES, Agreement, agreement
from jepa_jax.evaluate.calibration import Calibration, calibrate, wide_proposal
from jepa_jax.evaluate.control import share_kept
from jepa_jax.evaluate.corruptions import CORRUPTIONS, corrupt
from jepa_jax.evaluate.curation import LABEL_NEIGHBOURS, Duplicates, label_disagreement, near_duplicates
from jepa_jax.evaluate.density import density_agreement, part_agreement
from jepa_jax.evaluate.detectors import (
    Detectors,
    auroc,
    compressed_size,
    knn_distance,
    knn_log_density,
    mahalanobis,
    separation,
)
from jepa_jax.evaluate.gaussianity import slice_statistic, sphere_slice_statistic
from jepa_jax.evaluate.health import Health, diagnose, fold_fraction, judge
from jepa_jax.evaluate.kernel_ridge import COVERAGE, KernelRidge, Predictions, kernel_ridge
from jepa_jax.evaluate.label_budget import Budget, label_budget
from jepa_jax.evaluate.law import LAW_NEIGHBOUR, REFERENCE_SAMPLES, Law, MeasuredLaw
from jepa_jax.evaluate.lidar import lidar
from jepa_jax.evaluate.likelihood import Baselines, baselines, mixture_log_density, mixture_weights, spread
from jepa_jax.evaluate.moments import Moments, effective_rank, moments
from jepa_jax.evaluate.probes import knn_accuracy, linear_probe, pca
from jepa_jax.evaluate.retrieval import Retrieval, retrieval
from jepa_jax.evaluate.ridge import ridge, ridge_r2
from jepa_jax.evaluate.second_order import second_order

__all__ = [
    "CORRUPTIONS",
    "COVERAGE",
    "LABEL_NEIGHBOURS",
    "LAW_NEIGHBOUR",
    "LEAST_SAMPLES",
    "REFERENCE_SAMPLES",
    "Agreement",
    "Baselines",
    "Budget",
    "Calibration",
    "Detectors",
    "Duplicates",
    "Health",
    "KernelRidge",
    "Law",
    "MeasuredLaw",
    "Moments",
    "Predictions",
    "Retrieval",
    "agreement",
    "auroc",
    "baselines",
    "calibrate",
    "compressed_size",
    "corrupt",
    "density_agreement",
    "diagnose",
    "effective_rank",
    "fold_fraction",
    "judge",
    "kernel_ridge",
    "knn_accuracy",
    "knn_distance",
    "knn_log_density",
    "label_budget",
    "label_disagreement",
    "lidar",
    "linear_probe",
    "mahalanobis",
    "mixture_log_density",
    "mixture_weights",
    "moments",
    "near_duplicates",
    "part_agreement",
    "pca",
    "retrieval",
    "ridge",
    "ridge_r2",
    "second_order",
    "separation",
    "share_kept",
    "slice_statistic",
    "sphere_slice_statistic",
    "spread",
    "wide_proposal",
]
