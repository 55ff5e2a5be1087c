"""Train joint-embedding predictive architectures and read the data density they learn.

`score_samples(f, xs)` scores any function of one sample; `load(directory)` returns an encoder as such a function. Names
are imported on first use, so that `jepa_jax.config` needs only the standard library (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepa_jax.config import Config
    from jepa_jax.density import base_log_density, jacobian, jepa_score, score_batches, score_samples, singular_values
    from jepa_jax.density_monitor import DensityMonitor
    from jepa_jax.encoder import Encoder
    from jepa_jax.errors import ConfigError
    from jepa_jax.estimator import JEPADensity, PyODDetector, pyod_scores
    from jepa_jax.inputs import samples_for
    from jepa_jax.loading import load
    from jepa_jax.training import fit
    from jepa_jax.worlds import WORLDS, World

__version__ = "0.2.0"

_MODULE_OF_NAME = {
    "WORLDS": "jepa_jax.worlds",
    "Config": "jepa_jax.config",
    "ConfigError": "jepa_jax.errors",
    "DensityMonitor": "jepa_jax.density_monitor",
    "Encoder": "jepa_jax.encoder",
    "JEPADensity": "jepa_jax.estimator",
    "PyODDetector": "jepa_jax.estimator",
    "World": "jepa_jax.worlds",
    "fit": "jepa_jax.training",
    "jacobian": "jepa_jax.density",
    "jepa_score": "jepa_jax.density",
    "load": "jepa_jax.loading",
    "pyod_scores": "jepa_jax.estimator",
    "base_log_density": "jepa_jax.density",
    "samples_for": "jepa_jax.inputs",
    "score_batches": "jepa_jax.density",
    "score_samples": "jepa_jax.density",
    "singular_values": "jepa_jax.density",
}
_SUBPACKAGES = (
    "config",
    "data",
    "density",
    "evaluate",
    "images",
    "masking",
    "models",
    "objectives",
    "pretrained",
    "recipes",
    "targets",
    "training",
    "views",
    "worlds",
)

__all__ = [
    "WORLDS",
    "Config",
    "ConfigError",
    "DensityMonitor",
    "Encoder",
    "JEPADensity",
    "PyODDetector",
    "World",
    "__version__",
    "base_log_density",
    "fit",
    "jacobian",
    "jepa_score",
    "load",
    "pyod_scores",
    "samples_for",
    "score_batches",
    "score_samples",
    "singular_values",
]


def __getattr__(name: str) -> Any:
    """Import a public name or a subpackage on first use."""
    if name in _MODULE_OF_NAME:
        value = getattr(importlib.import_module(_MODULE_OF_NAME[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"jepa_jax.{name}")
    else:
        raise AttributeError(f"module 'jepa_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return sorted({*globals(), *_MODULE_OF_NAME, *_SUBPACKAGES})
