"""Train joint-embedding predictive architectures and read the data density they learn.

`score_samples(f, xs)` scores any pure function; `load(directory)` gives a trained encoder as such a function.
"""

from jepa_jax.config import Config, ConfigError
from jepa_jax.density import jacobian, jepa_score, log_law, score_batches, score_samples, singular_values
from jepa_jax.encoder import Encoder
from jepa_jax.opening import load
from jepa_jax.worlds import WORLDS, World

__all__ = [
    "WORLDS",
    "Config",
    "ConfigError",
    "Encoder",
    "World",
    "jacobian",
    "jepa_score",
    "load",
    "log_law",
    "score_batches",
    "score_samples",
    "singular_values",
]
