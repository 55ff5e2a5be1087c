"""Density in nats, judged by held-out rows: they choose the step and the weights of the members, and give the verdict.

The program `train` and the estimator `JEPADensity` both judge by it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jepa_jax import evaluate
from jepa_jax.config import Config
from jepa_jax.data import Probe, Source
from jepa_jax.encoder import Encoder
from jepa_jax.recipes import weighted
from jepa_jax.resolve import resolve
from jepa_jax.training import fit_source, source_of

DENSITY_BATCH = 2048  # samples whose log-density is computed at once

_densities = jax.jit(lambda encoder, xs: jax.vmap(encoder.member_log_densities)(xs))


class HeldOut:
    """Judge of normalised densities of a source, by a probe set that is held out of training.

    Attributes:
      probe: Samples that judge.
      judged: Whether they are held out; of a world, all samples are that were not drawn in training.
      baselines: Other densities of the same samples, once `fit_baselines` was called; None where there is nothing to
        fit them to.
    """

    def __init__(self, config: Config, source: Source, probe: Probe | None = None) -> None:
        """Select the probe set of a resolved config, unless it is given."""
        self.probe = source.probe(config.monitor.probes) if probe is None else probe
        self.judged = source.world is not None or config.data.holdout > 0 or source.held_out
        self.baselines: evaluate.Baselines | None = None
        self._source = source

    def fit_baselines(self) -> None:
        """Fit the densities beside which that of a normalised encoder is judged, if there are held-out vectors."""
        source = self._source
        rows = source.arrays.get("x") if isinstance(source.arrays, dict) else None
        if rows is not None and self.judged and len(source.shape) == 1:
            xs = (np.asarray(a, np.float64) for a in (rows, self.probe.x, source.mean, source.scale))
            self.baselines = evaluate.baselines(*xs)

    def member_log_densities(self, encoder: Encoder) -> np.ndarray:
        """Return the normalised log-densities [N, M] of the probe set under the members of an encoder."""
        xs = self.probe.x
        size = min(len(xs), DENSITY_BATCH)
        # The last batch overlaps the previous one, so that all have one size and the function is compiled once.
        starts = [min(start, len(xs) - size) for start in range(0, len(xs), size)]
        found = [np.asarray(_densities(encoder, xs[start : start + size])) for start in starts]
        overlap = size * len(starts) - len(xs)
        return np.concatenate([*found[:-1], found[-1][overlap:]]).astype(np.float64)

    def mixture(self, encoder: Encoder) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-density [N] of the probe set under the mixture of the members, and their weights [M]."""
        members = self.member_log_densities(encoder)
        count = members.shape[1]
        weights = evaluate.mixture_weights(members) if self.judged else np.full(count, 1 / count)
        return evaluate.mixture_log_density(members, weights), weights

    def nats(self, log_density: np.ndarray) -> dict[str, float]:
        """Return the mean log-density of held-out samples, beside that of other densities of the same samples."""
        if not self.judged:
            return {}
        found = {"heldout_nats": float(log_density.mean())}
        if self.baselines is not None:
            found["heldout_nats_kde"] = float(self.baselines.kde.mean())
            if self.baselines.gmm is not None:
                found["heldout_nats_gmm"] = float(self.baselines.gmm.mean())
        return found

    def verdict(self, log_density: np.ndarray) -> evaluate.Health:
        """Return the verdict on a density by its log-densities [N] of the probe set, once the baselines are fitted.

        Raises:
          ValueError: If there are no baselines.
        """
        if self.baselines is None:
            raise ValueError("a density is judged beside others; call fit_baselines first, with held-out vectors")
        rows = len(self._source.arrays["x"]) + len(self.probe.x)
        size = math.prod(self._source.shape)
        return evaluate.judge(log_density, self.baselines, size, rows=rows, degenerate=self._source.degenerate)


class Judged(NamedTuple):
    """Result of a training whose step was chosen by held-out rows.

    Attributes:
      encoder: Encoder at the best step, whose members have their weights.
      config: Resolved config.
      source: Data.
      step: Best step.
      nats: `heldout_nats`, `heldout_nats_kde` and `heldout_nats_gmm`, as in summary.json of a run.
      health: Verdict on the density.
    """

    encoder: Encoder
    config: Config
    source: Source
    step: int
    nats: dict[str, float]
    health: evaluate.Health


def fit_judged(config: Config, x: Any, callback: Callable[[int, dict[str, float]], Any] | None = None) -> Judged:
    """Train the automatic recipe on rows, as `python -m train arrays` does, without a folder and without output.

    Args:
      config: Config from `config.automatic`, possibly changed; `monitor.every` steps lie between two looks at the
        held-out rows.
      x: Rows [N, D].
      callback: Function (step, metrics) -> anything, called at every look; the metrics are those of `fit` and
        `heldout_nats`.

    Raises:
      ConfigError: If the config or the rows are invalid, or the loss is not finite.
    """
    source = source_of(config, x)
    config = resolve(config, source)
    held = HeldOut(config, source)
    best: tuple[float, int, Encoder] | None = None

    def look(step: int, metrics: dict[str, float], encoder: Encoder) -> None:
        nonlocal best
        value = float(held.mixture(encoder)[0].mean())
        if np.isfinite(value) and (best is None or value >= best[0]):
            best = value, step, encoder
        if callback is not None:
            callback(step, metrics | {"heldout_nats": value})

    last = fit_source(config, source, look, config.monitor.every)
    _, step, encoder = best or (0.0, config.steps, last)
    log_density, weights = held.mixture(encoder)
    held.fit_baselines()
    encoder = weighted(encoder, weights) if encoder.maps else encoder
    return Judged(encoder, config, source, step, held.nats(log_density), held.verdict(log_density))
