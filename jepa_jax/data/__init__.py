"""Sources of samples under one grammar: worlds, arrays, the digits, folders of images, TensorFlow Datasets."""

from jepa_jax.data.arrays import numbers, read_arrays
from jepa_jax.data.arrow_datasets import is_dataset
from jepa_jax.data.build import as_samples, ignored_options, is_stream, open_source, read_samples
from jepa_jax.data.columns import local_noise
from jepa_jax.data.dataset import Dataset, is_held_out
from jepa_jax.data.lazy_images import LazyImages, in_memory, readable
from jepa_jax.data.loader import WorkerError
from jepa_jax.data.registry import open_dataset
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import Probe, Source
from jepa_jax.data.streaming import pixels, preprocessing_of
from jepa_jax.data.synthetic import make_world
from jepa_jax.data.tables import Schema, schema_of

__all__ = [
    "Dataset",
    "LazyImages",
    "Probe",
    "Samples",
    "Schema",
    "Source",
    "WorkerError",
    "as_samples",
    "ignored_options",
    "in_memory",
    "is_dataset",
    "is_held_out",
    "is_stream",
    "local_noise",
    "make_world",
    "numbers",
    "open_dataset",
    "open_source",
    "pixels",
    "preprocessing_of",
    "read_arrays",
    "read_samples",
    "readable",
    "schema_of",
]
