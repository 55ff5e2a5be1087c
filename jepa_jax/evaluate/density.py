"""Comparison of a learned density with the exact one."""

import numpy as np
from numpy.typing import ArrayLike

from jepa_jax.evaluate.agreement import LEAST_SAMPLES, agreement


def density_agreement(
    score: ArrayLike,
    exact: ArrayLike,
    log_density: ArrayLike | None = None,
    smoothed: ArrayLike | None = None,
) -> dict[str, float]:
    """Measure the agreement of scores with the exact log-density.

    Args:
      score: JEPA-SCOREs [N] in nats.
      exact: Exact log-density [N].
      log_density: Corrected log-density [N], if it is defined.
      smoothed: Exact log-density [N] of the data with the noise of one view, if it is known.

    Returns:
      `spearman`, `pearson` and `slope` of the score; if they are defined, also `log_density_spearman` and
      `log_density_slope` of the corrected log-density, and `smoothed_spearman` of the corrected log-density, or of the
      score if there is no corrected log-density. {} for fewer than `LEAST_SAMPLES`, which support no statement,
      and for a constant `exact`, which ranks nothing.
    """
    if len(np.asarray(score)) < LEAST_SAMPLES or not np.ptp(exact):
        return {}
    plain = agreement(score, exact)
    found = {"spearman": plain.spearman, "pearson": plain.pearson, "slope": plain.slope}
    if log_density is not None:
        corrected = agreement(log_density, exact)
        found |= {"log_density_spearman": corrected.spearman, "log_density_slope": corrected.slope}
    if smoothed is not None:
        found["smoothed_spearman"] = agreement(score if log_density is None else log_density, smoothed).spearman
    return found


def part_agreement(parts: dict[str, np.ndarray], exact: ArrayLike, base: ArrayLike | None = None) -> dict[str, float]:
    """Measure the agreement of parts of the score, such as the part along a manifold, with the exact log-density.

    Args:
      parts: Name of a part -> its values [N] in nats.
      exact: Exact log-density [N].
      base: Log-density [N] of the embedding, if it is known.

    Returns:
      `NAME_spearman` for each part, and `NAME_log_density_spearman` if the base distribution is known. {} as in
      `density_agreement`.
    """
    if len(np.asarray(exact)) < LEAST_SAMPLES or not np.ptp(exact):
        return {}
    found = {}
    for name, part in parts.items():
        found[f"{name}_spearman"] = agreement(part, exact).spearman
        if base is not None:
            found[f"{name}_log_density_spearman"] = agreement(part + np.asarray(base), exact).spearman
    return found
