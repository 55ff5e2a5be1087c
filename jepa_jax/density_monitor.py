"""Monitor of the density that an encoder learns, for any training loop in JAX."""

import base64
import html
import io
import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jepa_jax import evaluate
from jepa_jax.data.source import standardise
from jepa_jax.density import base_log_density, score_all
from jepa_jax.density.captured import captured
from jepa_jax.density.score import EPS

MAX_FOLD_PROBES = 1024  # samples for fold_fraction, whose memory grows with the square of this number
VIEWS = 8  # of each sample, where LiDAR is measured with noise
LIDAR_SAMPLES = 128
UNIT_NORM = 1e-3  # spread of the norms of embeddings below which they lie on a sphere
# Metrics that the line of a look shows, with their labels, where they exist.
SHOWN = {
    "density/spearman": "spearman",
    "density/log_density_spearman": "corrected",
    "density/knn_spearman": "k-NN agreement",
    "probe/linear": "linear probe",
}

_moments = jax.jit(evaluate.moments, static_argnums=1)
_embed = jax.jit(lambda f, xs: jax.vmap(f)(xs))


class Look(dict[str, float]):
    """Metrics of one look, by the names of metrics.jsonl; `print(look)` says them in one line.

    Attributes:
      step: Step of the look, or its number if none was given.
      health: Verdict on the embedding.
      score: JEPA-SCORE [N] of the probe set, in nats.
      log_density: Corrected log-density [N]; None if the law of the embeddings is not known.
      singular_values: Singular values [N, R] of the Jacobians.
    """

    step: int
    health: evaluate.Health
    score: np.ndarray
    log_density: np.ndarray | None
    singular_values: np.ndarray
    _monitor: "DensityMonitor"

    @property
    def line(self) -> str:
        """The step, the metrics that say most, and the verdict."""
        shown = [f"{label} {self[name]:.3f}" for name, label in SHOWN.items() if np.isfinite(self.get(name, np.nan))]
        shown += [f"{name} {value:.3f}" for name, value in self.items() if name.startswith("auroc/")]
        shown = shown or [f"mean score {self['density/score_mean']:.1f} nats"]
        return f"step {self.step:>6}  {', '.join(shown)}  {self.health.finding}"

    def __str__(self) -> str:
        """Return the line."""
        return self.line

    def figure(self) -> Any:
        """Draw the scores, the spectrum and the course until this look, as `DensityMonitor.figure` does."""
        return self._monitor.figure(self)

    def _repr_html_(self) -> str:
        """Return the line and the figure for a notebook, whatever backend matplotlib has there."""
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png")
        data = base64.b64encode(picture.getvalue()).decode()
        return f'<pre>{html.escape(self.line)}</pre><img style="max-width: 100%" src="data:image/png;base64,{data}">'


class DensityMonitor:
    """Evaluator of the density that an encoder has learned so far, on a fixed probe set.

    It is compiled in the first look only, and always evaluates the present weights.

        monitor = jepa_jax.DensityMonitor(apply, probe, log_density)
        ...
        look = monitor(params)  # a dict of floats; print(look) is one line, and look.figure() a picture

    Attributes:
      history: Metrics of all looks, each a dict of floats with `step`.
    """

    def __init__(
        self,
        apply: Callable[[Any, Array], Array] | None,
        probe: ArrayLike,
        log_density: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        outliers: Mapping[str, ArrayLike] | None = None,
        training: ArrayLike | None = None,
        views: ArrayLike | None = None,
        noise: ArrayLike | None = None,
        base: str | None = None,
        eps: float = EPS,
    ) -> None:
        """Take the samples, and check them.

        Args:
          apply: Function (params, x) -> embedding [K] of one sample. None if the monitor will be called with something
            that maps one sample itself: an NNX, Equinox or bound Linen module, an `Encoder`, or a closure.
          probe: Samples [N, ...] that are scored, best held out of training; some hundreds will do.
          log_density: Exact log-density [N] of the probe set in nats, up to a constant, if it is known. For vectors
            without it, the score is compared with a nearest-neighbour estimate.
          labels: Labels [N] of the probe set; half of it fits k-NN and a linear probe, and the other half judges them.
          outliers: Name -> samples [M, ...] that the score should rank below the probe set.
          training: Samples [n, ...] among which the nearest neighbours of the probe set are searched; None searches
            within the probe set.
          views: Views [n, V, ...] of n samples, V >= 2, by which LiDAR is measured.
          noise: Standard deviation of the noise that makes views of the probe set for LiDAR, a number or one for each
            number of a sample, if there are no `views`.
          base: Law to which training drives the embedding, `normal` or `sphere`; then the log-density is corrected by
            it. None takes that of an `Encoder`; otherwise the law is unknown.
          eps: Lower limit of the singular values.

        Raises:
          ValueError: If an array has another shape than it should, is empty, or holds numbers that are not finite; or
            the law is unknown.
        """
        if base not in (None, "normal", "sphere"):
            raise ValueError(f"base is {base!r}; it must be normal, sphere or None")
        self._apply, self._base, self._eps = apply, base, eps
        self._probe = _samples("probe", probe)
        shape = self._probe.shape[1:]
        self._exact = (
            None if log_density is None else _of_probe("log_density", log_density, len(self._probe), np.float64)
        )
        self._labels = None if labels is None else _of_probe("labels", labels, len(self._probe))
        self._outliers = {name: _samples(f"outliers[{name!r}]", x, shape) for name, x in (outliers or {}).items()}
        self._training = None if training is None else _samples("training", training, shape)
        self._views = _views(self._probe, views, noise)
        self._scored = np.concatenate([self._probe, *self._outliers.values()])
        mean, scale = standardise(self._probe if self._training is None else self._training)
        self._mean, self._scale = np.asarray(mean), np.asarray(scale)
        self.history: list[dict[str, float]] = []

    def __call__(self, params: Any, step: int | None = None) -> Look:
        """Evaluate the density.

        Args:
          params: Present weights, the first argument of `apply`; or the module or closure itself.
          step: Step of the training, for the line, the history and the figure; None counts the looks from 0.

        Raises:
          TypeError: If there is no `apply` and this cannot be called.
          ValueError: If the function cannot be evaluated on a sample.
        """
        if self._apply is None and not callable(params):
            raise TypeError(f"without `apply` the monitor is called with a module or a function, not {type(params)}")
        function: Any = params if self._apply is None else partial(self._apply, params)
        f = captured(function, jnp.asarray(self._probe[0]))
        scores, embeddings, singular_values, clipped = score_all(f, self._scored, self._eps)
        count = len(self._probe)
        score, z = scores[:count], jnp.asarray(embeddings[:count])
        base = self._base or getattr(params, "base", None)
        law = base_log_density(z, base)
        look = Look()
        look.step = len(self.history) if step is None else step
        look.score, look.singular_values, look._monitor = score, singular_values[:count], self
        look.log_density = None if law is None else score + np.asarray(law)
        learned = score if look.log_density is None else look.log_density
        look.update({"density/score_mean": float(score.mean()), "density/clipped": float(clipped[:count].mean())})
        look.update(self._agreement(score, look.log_density, learned))
        starts = np.cumsum([count, *map(len, self._outliers.values())])
        for name, start, stop in zip(self._outliers, starts, starts[1:], strict=False):
            look[f"auroc/{name}"] = evaluate.auroc(score, scores[start:stop])
        look.update(self._probes(np.asarray(z)))
        look.health = self._judge(look, z, base)
        if self._views is not None:
            flat = self._views.reshape(-1, *self._probe.shape[1:])
            embedded = _embed(f, flat) if getattr(f, "carries_weights", False) else jax.vmap(f)(jnp.asarray(flat))
            look["embedding/lidar"] = float(evaluate.lidar(embedded.reshape(*self._views.shape[:2], -1)))
        self.history.append({"step": look.step, **look})
        return look

    def figure(self, look: Look) -> Any:
        """Return a matplotlib figure: scores (against the exact ones where they are known), spectrum, and course."""
        from jepa_jax import plots  # imported here, because matplotlib takes long to import

        figure = plots.Figure(figsize=(13, 4.3), dpi=120, layout="constrained")
        axes = figure.subplots(1, 3)
        learned = look.score if look.log_density is None else look.log_density
        if self._exact is not None and np.isfinite(learned).all():
            name = "" if look.log_density is None else "log_density_"
            spearman, slope = (look.get(f"density/{name}{what}", math.nan) for what in ("spearman", "slope"))
            plots.scatter(axes[0], learned, self._exact, spearman, slope)
        else:
            axes[0].hist(learned[np.isfinite(learned)], bins=50, color="C0")
            axes[0].set(title="score of the probe set", xlabel="nats", ylabel="samples")
        plots.spectrum(axes[1], look.singular_values)
        rows = [row for row in self.history if row["step"] <= look.step]
        curves = [name for name in SHOWN if any(name in row for row in rows)] or ["density/score_mean"]
        for name in curves:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axes[2].plot(*zip(*points, strict=True), "o-", ms=3, label=SHOWN.get(name, "mean score, nats"))
        axes[2].set(xlabel="step", title="over the looks")
        axes[2].legend()
        figure.suptitle(look.line, fontsize=9)
        return figure

    @cached_property
    def _neighbours(self) -> np.ndarray | None:
        """Nearest-neighbour log-density [N] of vectors; None for images, and where all samples are copies."""
        if self._probe.ndim != 2:
            return None
        known = None if self._training is None else self._standard(self._training)
        found = evaluate.knn_log_density(self._standard(self._probe), known)
        return found if np.ptp(found) else None

    def _standard(self, xs: np.ndarray) -> np.ndarray:
        return (xs - self._mean) / self._scale

    def _agreement(self, score: np.ndarray, log_density: np.ndarray | None, learned: np.ndarray) -> dict[str, float]:
        """Return the agreement with the exact log-density, or else with the nearest-neighbour estimate."""
        if self._exact is not None:
            found = evaluate.density_agreement(score, self._exact, log_density)
            return {f"density/{name}": value for name, value in found.items()}
        if self._neighbours is None or len(score) < evaluate.LEAST_SAMPLES:
            return {}
        return {"density/knn_spearman": evaluate.agreement(learned, self._neighbours).spearman}

    def _probes(self, z: np.ndarray) -> dict[str, float]:
        """Return the accuracy of k-NN and a linear probe, fitted on one half of the probe set."""
        if self._labels is None:
            return {}
        fit = np.random.default_rng(0).permutation(len(z)) < len(z) // 2
        halves = z[fit], self._labels[fit], z[~fit], self._labels[~fit]
        return {"probe/knn": evaluate.knn_accuracy(*halves), "probe/linear": evaluate.linear_probe(*halves)}

    def _judge(self, look: Look, z: Array, base: str | None) -> evaluate.Health:
        """Add the metrics of the embedding to a look, and return the verdict."""
        moments = _moments(z, base)
        standard = jnp.asarray(self._standard(self._probe[:MAX_FOLD_PROBES]), jnp.float32)
        folded = float(evaluate.fold_fraction(standard, z[:MAX_FOLD_PROBES]))
        look["embedding/effective_rank"] = float(moments.effective_rank)
        look["embedding/spread"] = spread = float(moments.spread)
        look["embedding/folded"] = folded
        norm = np.linalg.norm(np.asarray(z), axis=1)
        on_sphere = base == "sphere" or bool(
            np.ptp(norm) < UNIT_NORM * norm.mean() and abs(norm.mean() - 1) < UNIT_NORM
        )
        dim = z.shape[1]
        if base is None and not on_sphere:
            # Nothing says how large a free embedding should be, so that its spread is measured by its own size.
            size = float(np.sqrt((norm.astype(np.float64) ** 2).mean()))
            spread = math.sqrt(dim) * spread / size if size > 0 else size  # NaN stays NaN
        names = ("density/log_density_spearman", "density/spearman", "density/knn_spearman")
        agreement = next((look[name] for name in names if name in look), None)
        return evaluate.diagnose(
            spread=spread,
            effective_rank=look["embedding/effective_rank"],
            folded=folded if self._probe.ndim == 2 else None,
            size=math.prod(self._probe.shape[1:]),
            dim=dim,
            output="sphere" if on_sphere else "free",
            base=base,
            rows=len(self._probe),
            agreement=agreement,
        )


def _samples(name: str, xs: ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return samples [N, *shape] in float32.

    Raises:
      ValueError: If they have another shape, or are no finite numbers.
    """
    try:
        found = np.asarray(xs)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} should be one array of samples [N, ...]: {error}") from None
    if found.ndim < 2 or not found.size or found.dtype.kind not in "fiub":
        raise ValueError(f"{name} should be numbers [N, ...], not {found.dtype} {list(found.shape)}")
    if shape is not None and found.shape[1:] != shape:
        raise ValueError(f"{name} has samples of shape {list(found.shape[1:])}, and the probe set {list(shape)}")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} is not finite in {len(bad)} samples, the first is number {bad[0]}")
    return found


def _of_probe(name: str, values: ArrayLike, count: int, dtype: Any = None) -> np.ndarray:
    """Return values [N], one for each sample of the probe set.

    Raises:
      ValueError: If they are of another number, or no finite numbers where these are wanted.
    """
    found = np.asarray(values, dtype)
    if found.shape != (count,):
        raise ValueError(f"{name} has shape {list(found.shape)}, and the probe set has {count} samples")
    if dtype is not None and not np.isfinite(found).all():
        raise ValueError(f"{name} is not finite in {int((~np.isfinite(found)).sum())} places")
    return found


def _views(probe: np.ndarray, views: ArrayLike | None, noise: ArrayLike | None) -> np.ndarray | None:
    """Return views [n, V, ...] of samples, given or made by noise; None without either.

    Raises:
      ValueError: If both are given, or there are fewer than two views.
    """
    if views is not None and noise is not None:
        raise ValueError("give either views or noise")
    if views is not None:
        found = _samples("views", views)
        if found.shape[2:] != probe.shape[1:] or found.shape[1] < 2:
            wanted = ["n", "V >= 2", *probe.shape[1:]]
            raise ValueError(f"views has shape {list(found.shape)}; with this probe set it must be {wanted}")
        return found
    if noise is None:
        return None
    some = probe[:LIDAR_SAMPLES, None]
    drawn = np.random.default_rng(0).standard_normal((len(some), VIEWS, *probe.shape[1:]))
    return (some + drawn * np.asarray(noise)).astype(np.float32)
