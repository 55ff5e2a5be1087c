"""How well the score, and other detectors, tell samples from other data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jepa_jax import evaluate
from jepa_jax.data import in_memory, is_held_out, read_samples, readable
from jepa_jax.density import base_log_density, score_batches
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.loading import training_config

from .options import HOW, Arguments

BATCH = 1024  # samples that are embedded at once


def outliers(name: str, xs: np.ndarray, preprocessing: Preprocessing | None) -> np.ndarray:
    """Samples to set against xs [N, ...]: a corruption of xs itself, or other data by the data grammar.

    An image that cannot be read is NaN in xs, and here.

    Args:
      preprocessing: what the images of a folder go through.

    Raises:
      ConfigError: the data do not fit, or a rotation of what is not a square image.
    """
    if not np.isfinite(xs).any():
        raise ConfigError("--against: none of the images can be read")
    if name in evaluate.CORRUPTIONS:
        try:
            return evaluate.corrupt(name, xs)
        except ValueError as error:
            raise ConfigError(f"--against {error}") from None
    other = read_samples(name, None, preprocessing=preprocessing).x
    if other.shape[1:] != xs.shape[1:]:
        raise ConfigError(f"--against {name} has samples of shape {other.shape[1:]}, not {xs.shape[1:]}")
    other = in_memory(other, f"--against {name}", "name a folder of fewer")
    return other[readable(other)]


def compare(a: Arguments, encoder: Encoder, xs: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    """AUROC of every detector, all on rows that none of them was fitted on.

    Raises:
      ConfigError: there are too few samples to fit the other detectors on.
    """
    config = training_config(a.model)
    own = config is not None and config.data.source == a.data
    # The rows a run held out of training; of other data, a random half.
    holdout = config.data.holdout if config is not None and own else 0.0
    held = is_held_out(len(xs), holdout or 0.5)
    fine = readable(xs)
    held, fitted = held & fine, ~held & fine
    if not fitted.any() or not held.any():
        raise ConfigError(f"--against needs more samples than {fine.sum()}: some to fit the other detectors on")
    others = {name: other[held] if name in evaluate.CORRUPTIONS else other for name, other in others.items()}
    return {
        "against": separation(a, encoder, xs[held], xs[fitted], others),
        "against_count": int(held.sum()),
        "encoder_trained_on_them": own and not holdout,
    }


def separation(
    a: Arguments, encoder: Encoder, xs: np.ndarray, fit: np.ndarray, others: dict[str, np.ndarray]
) -> dict[str, dict[str, dict[str, float]]]:
    """How well each detector tells xs from other samples.

    Args:
      xs: [N, ...] typical samples, none of which is in `fit`.
      fit: [M, ...] what the nearest-neighbour and Mahalanobis detectors are fitted on.
      others: outlying samples by name.

    Returns:
      outliers -> detector -> `auroc` (of ranking xs as more typical) and `auroc_reversed` (1 - auroc).
    """
    embed = jax.jit(jax.vmap(encoder))
    how = {name: getattr(a, name) for name in HOW}

    def embedding(a: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(embed(jnp.asarray(a[i : i + BATCH]))) for i in range(0, len(a), BATCH)])

    z = embedding(fit)
    embedded = np.isfinite(z).all(axis=1)  # nothing can be fitted on the others
    fitted = evaluate.Detectors(fit[embedded], z[embedded])

    def detectors(samples: np.ndarray) -> dict[str, np.ndarray]:
        z = embedding(samples)
        samples, z = (b[np.isfinite(z).all(axis=1)] for b in (samples, z))
        batches = score_batches(encoder, samples, a.eps, **how, batch_size=a.batch_size, values=False)
        score = np.concatenate([np.asarray(b.score) for b in batches])
        found = {"JEPA-SCORE": score}
        base = base_log_density(jnp.asarray(z), encoder.base)
        if base is not None and np.ptp(np.asarray(base)) > 0:
            found["log_density"] = score + np.asarray(base)
        return found | fitted(samples, z)

    return evaluate.separation(detectors(xs), {name: detectors(other) for name, other in others.items()})
