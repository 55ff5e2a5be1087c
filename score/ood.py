"""Comparison of the score with other detectors, by how well they distinguish samples from other data."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jepa_jax import evaluate
from jepa_jax.data import Samples, in_memory, is_held_out, readable
from jepa_jax.density import base_log_density, score_batches
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.loading import training_config

from .embedding import embed
from .options import SCORE_OPTIONS, Arguments
from .seen import Seen


def outliers(name: str, xs: np.ndarray, read: Callable[[str], Samples]) -> np.ndarray:
    """Return outliers for a comparison: a corruption of the samples themselves, or other data.

    An image that cannot be read is NaN in `xs` and in a corruption of it.

    Args:
      name: Name of a corruption, or other data in the syntax of --data.
      xs: Samples [N, ...].
      read: Function from the name of other data to their samples, for the same encoder.

    Raises:
      ConfigError: If the data have another shape, or the corruption does not apply to the samples.
    """
    if not np.isfinite(xs).any():
        raise ConfigError("--against: none of the images can be read")
    if name in evaluate.CORRUPTIONS:
        try:
            return evaluate.corrupt(name, xs)
        except ValueError as error:
            raise ConfigError(f"--against: {error}") from None
    other = read(name).x
    if other.shape[1:] != xs.shape[1:]:
        raise ConfigError(f"--against {name} has samples of shape {other.shape[1:]}, not {xs.shape[1:]}")
    other = in_memory(other, f"--against {name}", "name a folder with fewer images")
    return other[readable(other)]


def compare(
    a: Arguments, encoder: Encoder, xs: np.ndarray, samples: Samples, others: dict[str, np.ndarray], known: Seen
) -> dict[str, Any]:
    """Evaluate the AUROC of every detector, on rows on which none of them was fitted.

    Args:
      a: Arguments of the program.
      encoder: Encoder.
      xs: Typical samples [N, ...].
      samples: The same samples, with their numbers in the dataset.
      others: Outliers by name.
      known: Whether training has seen the file of the samples.

    Returns:
      Entries of the summary: `against`, `against_count`, `against_fitted_count`, `against_failures` and
      `encoder_trained_on_them`.

    Raises:
      ConfigError: If there are too few samples for fitting the other detectors.
    """
    config = training_config(a.model)
    # The rows that the run kept out of training, or a random half of other data.
    holdout = config.data.holdout if config is not None and known == "trained on" else 0.0
    rows = np.arange(len(xs)) if samples.rows is None else samples.rows
    named = samples.held_out if known == "trained on" else None
    held = is_held_out(int(rows.max()) + 1, holdout or 0.5)[rows] if named is None else named
    fine = readable(xs)
    held, fitted = held & fine, ~held & fine
    if not fitted.any() or not held.any():
        raise ConfigError(
            f"--against needs more than {fine.sum()} samples, because the other detectors are fitted on a part"
        )
    others = {name: other[held] if name in evaluate.CORRUPTIONS else other for name, other in others.items()}
    table, failures = separation(a, encoder, xs[held], xs[fitted], others)
    return {
        "against": table,
        "against_count": int(held.sum()),
        "against_fitted_count": int(fitted.sum()),
        "against_failures": failures,
        "encoder_trained_on_them": "held out" if holdout or named is not None else known,
    }


def separation(
    a: Arguments, encoder: Encoder, xs: np.ndarray, fit: np.ndarray, others: dict[str, np.ndarray]
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, str]]:
    """Evaluate how well each detector distinguishes typical samples from outliers.

    Args:
      a: Arguments of the program.
      encoder: Encoder.
      xs: Typical samples [N, ...], none of which is in `fit`.
      fit: Samples [M, ...] on which the nearest-neighbour and Mahalanobis detectors are fitted.
      others: Outliers by name.

    Returns:
      outliers -> detector -> `auroc` (of ranking xs as more typical) and `auroc_reversed` (1 - auroc), and the reasons
      why detectors failed, whose values are NaN.
    """
    how = {name: getattr(a, name) for name in SCORE_OPTIONS}

    z = embed(encoder, fit)
    embedded = np.isfinite(z).all(axis=1)  # the detectors cannot be fitted on other values
    fitted = evaluate.Detectors(fit[embedded], z[embedded])

    def detectors(samples: np.ndarray) -> dict[str, np.ndarray]:
        z = embed(encoder, samples)
        samples, z = (b[np.isfinite(z).all(axis=1)] for b in (samples, z))
        batches = score_batches(encoder, samples, a.eps, **how, batch_size=a.batch_size, values=False)
        score = np.concatenate([np.asarray(b.score) for b in batches])
        found = {"JEPA-SCORE": score}
        base = base_log_density(jnp.asarray(z), encoder.base)
        if base is not None and np.ptp(np.asarray(base)) > 0:
            found["log_density"] = score + np.asarray(base)
        return found | fitted(samples, z)

    table = evaluate.separation(detectors(xs), {name: detectors(other) for name, other in others.items()})
    return table, fitted.failures
