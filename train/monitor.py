"""Looking at the learned density while training goes on."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import evaluate
from jepa_jax.config import Config
from jepa_jax.data import Probe, Source
from jepa_jax.density import log_law, score_batches, score_samples
from jepa_jax.encoder import Encoder

FOLD_PROBES = 1024  # fold_fraction takes the square of this in memory


@dataclass(frozen=True)
class Look:
    """One look at the density.

    Attributes:
      metrics: what goes into metrics.jsonl.
      health: the verdict and its sentence.
      probe: the samples looked at.
      score, log_density: [N] learned; log_density is None where the embedding's law is unknown.
      singular_values: [N, R].
    """

    metrics: dict[str, float | str]
    health: evaluate.Health
    probe: Probe
    score: np.ndarray
    log_density: np.ndarray | None
    singular_values: np.ndarray

    @property
    def learned(self) -> np.ndarray:
        """The best learned log-density: the corrected one where there is one."""
        return self.score if self.log_density is None else self.log_density


class Monitor:
    """Scores a fixed probe set."""

    def __init__(self, config: Config, source: Source) -> None:
        self.config = config
        self.source = source
        self.probe = source.probe(config.monitor.probes)
        self._moments = jax.jit(evaluate.moments, static_argnums=1)
        self._embed = jax.jit(lambda encoder, xs: jax.vmap(encoder)(xs))

    def effective_rank(self, encoder: Encoder) -> float:
        """RankMe of the probe set's embeddings."""
        return float(self._moments(self._embed(encoder, self.probe.x), encoder.law).effective_rank)

    def look(self, encoder: Encoder) -> Look:
        """Score the probe set and compare it with the truth, where there is one."""
        eps = self.config.monitor.eps
        score, z, sigma, clipped = score_all(encoder, self.probe.x, eps)
        law = log_law(z, encoder.law)
        log_density = None if law is None else score + np.asarray(law)
        moments = self._moments(z, encoder.law)
        folded = float(evaluate.fold_fraction(self.probe.x[:FOLD_PROBES], z[:FOLD_PROBES]))
        health = evaluate.diagnose(
            spread=float(moments.spread),
            effective_rank=float(moments.effective_rank),
            folded=folded,
            size=int(np.prod(encoder.shape)),
            dim=encoder.dim,
            output=self.config.encoder.output,
            law=encoder.law,
        )
        metrics: dict[str, float | str] = {
            "density/score_mean": float(score.mean()),
            "density/clipped": float(clipped.mean()),
            **self._against_truth(encoder, score, log_density, law, sigma),
            "embedding/effective_rank": float(moments.effective_rank),
            "embedding/spread": float(moments.spread),
            "embedding/mean_error": float(moments.mean_error),
            "embedding/covariance_error": float(moments.covariance_error),
            "embedding/folded": folded,
            "health": health.verdict,
        }
        return Look(metrics, health, self.probe, score, log_density, sigma)

    def _against_truth(
        self, encoder: Encoder, score: np.ndarray, log_density: np.ndarray | None, law: Array | None, sigma: np.ndarray
    ) -> dict[str, float]:
        probe = self.probe
        if probe.log_density is None:
            return {}
        plain = evaluate.agreement(score, probe.log_density)
        found = {"density/spearman": plain.spearman, "density/pearson": plain.pearson, "density/slope": plain.slope}
        if log_density is not None:
            corrected = evaluate.agreement(log_density, probe.log_density)
            found["density/log_density_spearman"] = corrected.spearman
            found["density/log_density_slope"] = corrected.slope
        if probe.log_density_smoothed is not None:
            learned = score if log_density is None else log_density
            found["density/smoothed_spearman"] = evaluate.agreement(learned, probe.log_density_smoothed).spearman
        if probe.tangent is not None:  # a manifold: the directions off it carry singular values too
            manifold_dim = probe.tangent.shape[-1]
            parts = {
                "tangent": np.asarray(score_samples(encoder, probe.x, self.config.monitor.eps, tangent=probe.tangent)),
                "top": np.log(np.maximum(sigma[:, :manifold_dim], self.config.monitor.eps)).sum(axis=1),
            }
            for name, part in parts.items():
                found[f"density/{name}_spearman"] = evaluate.agreement(part, probe.log_density).spearman
                if law is not None:
                    corrected = evaluate.agreement(part + np.asarray(law), probe.log_density)
                    found[f"density/{name}_log_density_spearman"] = corrected.spearman
        return found


def score_all(encoder: Any, xs: Array, eps: float) -> tuple[np.ndarray, Array, np.ndarray, np.ndarray]:
    """Score [N], embeddings [N, K], singular values [N, R] and clip counts [N] of a set of samples."""
    batches = list(score_batches(encoder, xs, eps))
    score, clipped, sigma = (
        np.concatenate([np.asarray(getattr(b, name)) for b in batches])
        for name in ("score", "clipped", "singular_values")
    )
    return score, jnp.concatenate([b.embedding for b in batches]), sigma, clipped
