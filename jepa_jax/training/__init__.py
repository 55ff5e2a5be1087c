"""Training as functions: the step, its optimiser and its cost, and a short loop."""

from jepa_jax.training.fit import fit, fit_source, source_of
from jepa_jax.training.step import METRICS, STEPS_PER_DISPATCH, State, Trainer, make_trainer, pipeline_of, views_of

__all__ = [
    "METRICS",
    "STEPS_PER_DISPATCH",
    "State",
    "Trainer",
    "fit",
    "fit_source",
    "make_trainer",
    "pipeline_of",
    "source_of",
    "views_of",
]
