"""Evaluation of the learned density during training."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import evaluate
from jepa_jax.cli import as_flags
from jepa_jax.config import Config, Pair
from jepa_jax.data import Probe, Source, pixels
from jepa_jax.density import base_log_density, score_all, score_samples
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.held_out import HeldOut
from jepa_jax.training import pipeline_of

from .labels import open_labels

VIEWS = 8  # of each sample whose embeddings LiDAR compares
LEAST_CALIBRATION_SAMPLES = 500  # held-out samples and draws below which a factor and a constant are too uncertain
LEAST_LIDAR_SAMPLES = 16  # below which it says nothing
MAX_LIDAR_NUMBERS = 2**24  # in all their views
MAX_COLUMNS = 64  # above which no column is looked at on its own
MAX_FOLD_PROBES = 1024  # samples for fold_fraction, whose memory grows with the square of this number
EMBEDDING_BATCH_BYTES = 2**26  # bytes of samples that are embedded at once; activations need many times as much


@dataclass(frozen=True)
class Look:
    """Result of one evaluation of the density.

    Attributes:
      metrics: Metrics for metrics.jsonl.
      health: Verdict on the embedding, and its sentence.
      probe: Samples that were evaluated.
      score: JEPA-SCORE [N] in nats.
      log_density: Learned log-density [N] in nats; None if the base distribution of the embedding is unknown.
      singular_values: Singular values [N, R] of the Jacobians.
    """

    metrics: dict[str, float | str]
    health: evaluate.Health
    probe: Probe
    score: np.ndarray
    log_density: np.ndarray | None
    singular_values: np.ndarray

    @property
    def learned(self) -> np.ndarray:
        """Best learned log-density [N]: the corrected one if it is known, or else the score."""
        return self.score if self.log_density is None else self.log_density


class Monitor:
    """Evaluator that scores a fixed probe set, and evaluates the embedding on labels if there are any."""

    def __init__(self, config: Config, source: Source) -> None:
        """Select the samples for the evaluation.

        Args:
          config: Resolved config.
          source: Data of the run.

        Raises:
          ConfigError: If the config requires labels that the data lack, or a corruption that does not apply to them.
        """
        self.config = config
        self.source = source
        self.probe = source.probe(config.monitor.probes)
        self._check_law()
        self.others = {name: corrupted(name, self.probe.x) for name in config.monitor.against}
        self.labels = open_labels(config, source)
        self._moments = jax.jit(evaluate.moments, static_argnums=1)
        self._slices = jax.jit(slices, static_argnums=1)
        self._folded = jax.jit(evaluate.fold_fraction)
        self.held_out = HeldOut(config, source, self.probe)
        self._neighbours: np.ndarray | None = None
        self._views: np.ndarray | None = None
        self._partners: np.ndarray | None = None
        self._embed = jax.jit(lambda encoder, xs: jax.vmap(encoder)(pixels(xs)))

    def embed(self, encoder: Encoder, xs: Any) -> Array:
        """Return the embeddings [N, K] of samples [N, ...], computed in batches."""
        size = max(1, min(len(xs), EMBEDDING_BATCH_BYTES // (4 * int(np.prod(encoder.shape)))))
        # The last batch overlaps the previous one, so that all have one size and the function is compiled once.
        starts = [min(start, len(xs) - size) for start in range(0, len(xs), size)]
        z = [self._embed(encoder, xs[start : start + size]) for start in starts]
        overlap = size * len(starts) - len(xs)
        return jnp.concatenate([*z[:-1], z[-1][overlap:]])

    def known_embeddings(self, encoder: Encoder) -> np.ndarray | None:
        """Return embeddings [n, K] of training samples, among which a law is measured.

        None for streams, and for images unless `density.law` asks for them, because embedding them takes long.
        """
        source, measured = self.source, self.config.density.law != "assumed"
        if source.known is None or (len(source.shape) > 1 and not measured):
            return None
        return np.asarray(self.embed(encoder, source.known(evaluate.REFERENCE_SAMPLES)))

    def _check_law(self) -> None:
        """Check that there are samples among which the law can be measured, if it is to be."""
        if self.config.density.law == "assumed":
            return
        name, known = self.config.data.source, self.source.known
        if known is None:
            raise ConfigError(f"`density.law` is measured on samples in memory, and {name} is read as a stream")
        if (count := len(known(evaluate.REFERENCE_SAMPLES))) <= evaluate.LAW_NEIGHBOUR:
            least = evaluate.LAW_NEIGHBOUR + 1
            raise ConfigError(f"`density.law` needs at least {least} training samples, and {name} has {count}")

    def _law(self, encoder: Encoder, z: Array) -> np.ndarray | None:
        """Return the log-density [N] of embeddings under their law, assumed or measured; None if it is unknown."""
        law = self.config.density.law
        if law == "assumed":
            base = base_log_density(z, encoder.base)
            return None if base is None else np.asarray(base)
        known = self.known_embeddings(encoder)
        if known is None or not np.isfinite(known).all():
            return None
        size = min(int(np.prod(encoder.shape)), encoder.dim - encoder.null_directions)
        return evaluate.MeasuredLaw(law, known, size)(np.asarray(z))

    def effective_rank(self, encoder: Encoder) -> float:
        """Return the effective rank (RankMe) of the embeddings of the probe set."""
        return float(self._moments(self.embed(encoder, self.probe.x), encoder.base).effective_rank)

    def look(self, encoder: Encoder) -> Look:
        """Score the probe set, and compare the scores with the exact log-density if that is known."""
        eps = self.config.monitor.eps
        score, embedded, sigma, clipped = score_all(encoder, self.probe.x, eps)
        z = jnp.asarray(embedded)
        base = self._law(encoder, z)
        log_density = None if base is None else score + base
        nats = {}
        if encoder.normalised and self.config.density.law == "assumed":
            log_density, _ = self.held_out.mixture(encoder)
            nats = self.held_out.nats(log_density)
        moments = self._moments(z, encoder.base)
        standard = jnp.asarray(self._standard(self.probe.x[:MAX_FOLD_PROBES]))
        folded = float(self._folded(standard, z[:MAX_FOLD_PROBES]))
        truth = self._against_truth(encoder, score, log_density, base, sigma)
        learned = score if log_density is None else log_density
        partners = self._partner_spread(encoder)
        verdict = evaluate.diagnose(
            spread=float(moments.spread),
            partner_spread=partners.get("embedding/partner_spread"),
            effective_rank=float(moments.effective_rank),
            folded=folded if len(self.source.shape) == 1 else None,
            size=int(np.prod(encoder.shape)),
            dim=encoder.dim,
            output=self.config.encoder.output,
            base=encoder.base,
            rows=len(self.probe.x),
            injective=encoder.volume is not None,
            agreement=truth.get("density/tangent_log_density_spearman", self.agreement(learned)),
            least_column=self._least_column(encoder, z),
            categories=any(self.source.categories),
            noise=self.config.data.noise != 0,
        )
        # In nats, held-out samples say more than the distances of neighbours; the exact density says most.
        open_verdicts = ("healthy",) if truth else ("healthy", "disagrees", "injective")
        if log_density is not None and "heldout_nats_kde" in nats and verdict.verdict in open_verdicts:
            verdict = self.held_out.verdict(log_density)
        health = verdict._replace(advice=as_flags(verdict.advice, Config))
        metrics: dict[str, float | str] = {
            "density/score_mean": float(score.mean()),
            "density/clipped": float(clipped.mean()),
            **nats,
            **truth,
            **self._against_others(encoder, score),
            **self._labels(encoder),
            "embedding/effective_rank": float(moments.effective_rank),
            "embedding/spread": float(moments.spread),
            "embedding/mean_error": float(moments.mean_error),
            "embedding/covariance_error": float(moments.covariance_error),
            "embedding/slices": float(self._slices(z, encoder.base)),
            "embedding/folded": folded,
            **self._lidar(encoder),
            **partners,
            "health": health.verdict,
        }
        return Look(metrics, health, self.probe, score, log_density, sigma)

    def calibration(self, encoder: Encoder, look: Look) -> dict[str, float]:
        """Return the factor and the constant that turn the learned log-density into nats, for vectors.

        There are none for a normalised encoder, which needs none, and without held-out samples. Where the effective
        sample size is too small, only that is returned.
        """
        known, count = self.source.known, len(look.score)
        if encoder.normalised or known is None or len(self.source.shape) != 1:
            return {}
        if not self.held_out.judged or count < LEAST_CALIBRATION_SAMPLES:
            return {}
        # As many draws as samples in the probe set, for which the scorer is compiled.
        draws, log_proposal = evaluate.wide_proposal(self._standard(known(evaluate.REFERENCE_SAMPLES)), count)
        mean, scale = np.asarray(self.source.mean), np.broadcast_to(self.source.scale, self.source.shape)
        score, z, *_ = score_all(encoder, jnp.asarray(mean + scale * draws, jnp.float32), self.config.monitor.eps)
        law = None if look.log_density is None else self._law(encoder, jnp.asarray(z))
        if not np.isfinite(look.learned).all() or not np.isfinite(score).all():
            return {}
        found = evaluate.calibrate(look.learned, score if law is None else score + law, log_proposal - _units(scale))
        named = {"gamma": found.gamma, "log_z": found.log_z, "nats": found.nats}
        certain = {name: value for name, value in named.items() if np.isfinite(found.log_z)}
        return {f"calibration/{name}": value for name, value in (certain | {"sample_size": found.sample_size}).items()}

    def agreement(self, learned: np.ndarray) -> float | None:
        """Return the rank correlation with the exact log-density, or for vectors with a nearest-neighbour estimate."""
        if not np.isfinite(learned).all():
            return None
        if self.probe.log_density is not None:
            exact = np.asarray(self.probe.log_density)
            return evaluate.agreement(learned, exact).spearman if np.ptp(exact) else None
        if len(self.source.shape) != 1:
            return None
        if self._neighbours is None:
            # Training rows are many more than held-out ones, so that their distances say more about fine structure.
            judged, known = self._standard(self.probe.x), None
            if self.held_out.judged and self.source.known is not None:
                known = self._standard(self.source.known(evaluate.REFERENCE_SAMPLES))
            self._neighbours = evaluate.knn_log_density(judged, known)
        if not np.ptp(self._neighbours):
            return None  # only copies, whose distances say nothing
        return evaluate.agreement(learned, self._neighbours).spearman

    def _standard(self, xs: Array) -> np.ndarray:
        """Return samples, standardised."""
        return (np.asarray(xs) - np.asarray(self.source.mean)) / np.asarray(self.source.scale)

    def _least_column(self, encoder: Encoder, z: Array) -> float:
        """Return the smallest influence of a column of vectors on the embedding, over the median one.

        The influence is how far the embeddings move when the values of this column are exchanged among the samples.
        """
        if len(self.source.shape) != 1 or not 1 < self.source.shape[0] <= MAX_COLUMNS:
            return 1.0
        xs = np.asarray(self.probe.x)
        moved = np.empty(xs.shape[1])
        for column in range(xs.shape[1]):
            exchanged = xs.copy()
            exchanged[:, column] = np.roll(xs[:, column], len(xs) // 2)
            moved[column] = np.linalg.norm(np.asarray(self.embed(encoder, exchanged) - z), axis=1).mean()
        return float(moved.min() / np.median(moved)) if np.isfinite(moved).all() and moved.any() else 1.0

    def _lidar(self, encoder: Encoder) -> dict[str, float]:
        """Return the effective rank of what tells training samples apart beyond their views; {} for streams."""
        source, size = self.source, int(np.prod(self.source.shape))
        # As many views in all as there are probes, so that the function that embeds them is the same.
        count = min(len(self.probe.x) // VIEWS, source.batch_size)
        if source.batches is not None or count < LEAST_LIDAR_SAMPLES or count * VIEWS * size > MAX_LIDAR_NUMBERS:
            return {}
        if self._views is None:
            pipeline = pipeline_of(self.config, source)
            of_one = jax.vmap(lambda key, example: pipeline(key, example)[0][0], (0, None))

            @jax.jit
            def draw(arrays: Any) -> Array:
                examples, keys = source.draw(arrays, jax.random.key(0))
                few = jax.tree.map(lambda a: a[:count], examples)
                return jax.vmap(of_one)(jax.vmap(lambda key: jax.random.split(key, VIEWS))(keys[:count]), few)

            views = np.asarray(draw(source.arrays))
            self._views = views.reshape(-1, *views.shape[2:])
        if self._views.shape[1:] != source.shape:  # small crops
            return {}
        z = self.embed(encoder, self._views)
        return {"embedding/lidar": float(evaluate.lidar(z.reshape(count, VIEWS, -1)))}

    def _partner_spread(self, encoder: Encoder) -> dict[str, float]:
        """Return the spread of what one view predicts of the other, whose law may be another; {} if it is the same.

        The probe set has first views alone: where mixes predict their voices, the embeddings of all voices can become
        one point while those of mixes stay apart.
        """
        source, recipe = self.source, self.config.recipe
        forward = isinstance(recipe, Pair) and recipe.direction == "forward" and recipe.target == "embedding"
        if not forward or source.batches is not None:
            return {}
        if self._partners is None:
            pipeline = pipeline_of(self.config, source)

            @jax.jit
            def draw(arrays: Any) -> Array:
                examples, keys = source.draw(arrays, jax.random.key(0))
                return jax.vmap(lambda key, example: pipeline(key, example)[-1][-1])(keys, examples)

            partners = np.asarray(draw(source.arrays))
            # As many as there are probes, so that the function that embeds them is the same.
            self._partners = np.resize(partners, (len(self.probe.x), *partners.shape[1:]))
        if self._partners.shape[1:] != source.shape:  # small crops, whose law is that of the first view
            return {}
        spread = self._moments(self.embed(encoder, self._partners), encoder.base).spread
        return {"embedding/partner_spread": float(spread)}

    def _against_others(self, encoder: Encoder, score: np.ndarray) -> dict[str, float]:
        """Return the AUROC of the scores of the probe set against those of each corruption of it."""
        eps = self.config.monitor.eps
        if len(score) < evaluate.LEAST_SAMPLES:
            return {}
        return {
            f"auroc/{name}": evaluate.auroc(score, np.asarray(score_samples(encoder, other, eps)))
            for name, other in self.others.items()
        }

    def _labels(self, encoder: Encoder) -> dict[str, float]:
        """Return the accuracy of k-NN and a linear probe on held-out samples, fitted on training samples."""
        if self.labels is None:
            return {}
        fit, judged = ((np.asarray(self.embed(encoder, x)), y) for x, y in self.labels)
        return {"probe/knn": evaluate.knn_accuracy(*fit, *judged), "probe/linear": evaluate.linear_probe(*fit, *judged)}

    def principal_components(self, dim: int) -> dict[str, float]:
        """Return the accuracy of the linear probe on `dim` principal components, the baseline of the embedding."""
        if self.labels is None:
            return {}
        (x, y), (judged_x, judged_y) = self.labels
        components = evaluate.pca(pixels(x), dim)
        return {
            "probe/linear_pca": evaluate.linear_probe(components(pixels(x)), y, components(pixels(judged_x)), judged_y)
        }

    def _against_truth(
        self, encoder: Encoder, score: np.ndarray, log_density: np.ndarray | None, base: Any, sigma: np.ndarray
    ) -> dict[str, float]:
        probe, eps = self.probe, self.config.monitor.eps
        if probe.log_density is None:
            return {}
        found = evaluate.density_agreement(score, probe.log_density, log_density, probe.log_density_smoothed)
        if probe.tangent is not None:  # on a manifold, directions off it also have singular values
            parts = {
                "tangent": np.asarray(score_samples(encoder, probe.x, eps, tangent=probe.tangent)),
                "top": np.log(np.maximum(sigma[:, : probe.tangent.shape[-1]], eps)).sum(axis=1),
            }
            found |= evaluate.part_agreement(parts, probe.log_density, base)
        return {f"density/{name}": value for name, value in found.items()}


def _units(scale: np.ndarray) -> float:
    """Return the log of the volume of a box that is one deviation wide in each column, in nats."""
    return float(np.log(np.asarray(scale, np.float64)).sum())


def slices(z: Array, base: str | None) -> Array:
    """Return the distance of slices of the embedding from those of its base distribution.

    Args:
      z: Embeddings [N, K].
      base: Base distribution; None, if it is unknown, stands for N(0, I).

    Returns:
      The statistic, which is about 1 under the base distribution.
    """
    statistic = evaluate.sphere_slice_statistic if base == "sphere" else evaluate.slice_statistic
    return statistic(z, jax.random.key(0))


def corrupted(name: str, xs: Array) -> Array:
    """Return a corruption of samples.

    Raises:
      ConfigError: If the corruption does not apply to these samples.
    """
    try:
        return jnp.asarray(evaluate.corrupt(name, np.asarray(xs)))
    except ValueError as error:
        raise ConfigError(f"`monitor.against`: {error}") from None
