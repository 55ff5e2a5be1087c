"""A learned density beside the exact one."""

import numpy as np
from numpy.typing import ArrayLike

from jepa_jax.evaluate.agreement import agreement


def density_agreement(
    score: ArrayLike,
    exact: ArrayLike,
    log_density: ArrayLike | None = None,
    smoothed: ArrayLike | None = None,
) -> dict[str, float]:
    """Agreement of scores with the exact log-density.

    Args:
      score: [N] JEPA-SCOREs, in nats.
      exact: [N] exact log-density.
      log_density: [N] corrected log-density, where it is defined.
      smoothed: [N] exact log-density of the data with the noise of one view, where it is known.

    Returns:
      `spearman`, `pearson` and `slope` of the score; where they are defined `log_density_spearman` and
      `log_density_slope` of the corrected log-density, and `smoothed_spearman` of the better of the two.
    """
    plain = agreement(score, exact)
    found = {"spearman": plain.spearman, "pearson": plain.pearson, "slope": plain.slope}
    if log_density is not None:
        corrected = agreement(log_density, exact)
        found |= {"log_density_spearman": corrected.spearman, "log_density_slope": corrected.slope}
    if smoothed is not None:
        found["smoothed_spearman"] = agreement(score if log_density is None else log_density, smoothed).spearman
    return found


def part_agreement(parts: dict[str, np.ndarray], exact: ArrayLike, base: ArrayLike | None = None) -> dict[str, float]:
    """Agreement of parts of the score, such as that along a manifold, with the exact log-density.

    Args:
      parts: name -> [N], in nats.
      exact: [N] exact log-density.
      base: [N] log-density of the embedding, where it is known.

    Returns:
      `NAME_spearman`, and `NAME_log_density_spearman` where the base distribution is known.
    """
    found = {}
    for name, part in parts.items():
        found[f"{name}_spearman"] = agreement(part, exact).spearman
        if base is not None:
            found[f"{name}_log_density_spearman"] = agreement(part + np.asarray(base), exact).spearman
    return found
