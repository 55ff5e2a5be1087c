"""What a score run says: the summary, the comparison with other data, and the picture."""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")  # no window, also where there is no screen
from matplotlib.figure import Figure

from jepa_jax import evaluate, pictures
from jepa_jax.config import ConfigError
from jepa_jax.data import read_samples
from jepa_jax.density import log_law, score_batches
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically
from score.stream import Options, Scored

CORRUPTIONS = ("inverted", "rotated", "noise")


def truth(scored: Scored, exact: np.ndarray | None) -> dict[str, float]:
    """Agreement with the exact log-density, where it is known."""
    if exact is None:
        return {}
    plain = evaluate.agreement(scored.score, exact)
    found = {"spearman": plain.spearman, "pearson": plain.pearson, "slope": plain.slope}
    if np.isfinite(scored.log_density).all():
        corrected = evaluate.agreement(scored.log_density, exact)
        found |= {"log_density_spearman": corrected.spearman, "log_density_slope": corrected.slope}
    return found


def outliers(name: str, xs: np.ndarray) -> np.ndarray:
    """Samples to set against xs [N, ...]: a corruption of xs itself, or other data by the data grammar.

    `inverted` swaps light and dark, `rotated` turns images by a quarter, `noise` draws every number anew from all
    the numbers in xs.

    Raises:
      ConfigError: the data do not fit, or a rotation of what is not a square image.
    """
    if name == "inverted":
        return xs.min() + xs.max() - xs
    if name == "rotated":
        if xs.ndim != 4 or xs.shape[1] != xs.shape[2]:
            raise ConfigError(f"--against rotated needs square images, and these samples have shape {xs.shape[1:]}")
        return np.ascontiguousarray(np.rot90(xs, axes=(1, 2)))
    if name == "noise":
        return np.random.default_rng(0).choice(xs.reshape(-1), xs.shape)
    other = read_samples(name, None).x
    if other.shape[1:] != xs.shape[1:]:
        raise ConfigError(f"--against {name} has samples of shape {other.shape[1:]}, not {xs.shape[1:]}")
    return other


def separation(
    encoder: Encoder, xs: np.ndarray, fit: np.ndarray, others: dict[str, np.ndarray], options: Options
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

    def embedding(a: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(embed(jnp.asarray(a[i : i + 1024]))) for i in range(0, len(a), 1024)])

    fit_z, fit_flat = embedding(fit), fit.reshape(len(fit), -1)

    def detectors(a: np.ndarray) -> dict[str, np.ndarray]:  # all oriented so that high is typical
        z, flat = embedding(a), a.reshape(len(a), -1)
        batches = score_batches(encoder, a, options.eps, mode=options.mode, batch_size=options.batch_size)
        score = np.concatenate([np.asarray(b.score) for b in batches])
        found = {"JEPA-SCORE": score}
        law = log_law(jnp.asarray(z), encoder.law)
        if law is not None and np.ptp(np.asarray(law)) > 0:
            found["log_density"] = score + np.asarray(law)
        return found | {
            "k-NN, embedding": -evaluate.knn_distance(fit_z, z),
            "Mahalanobis, embedding": -evaluate.mahalanobis(fit_z, z),
            "k-NN, input": -evaluate.knn_distance(fit_flat, flat),
            "Mahalanobis, input": -evaluate.mahalanobis(fit_flat, flat),
            # Rounded, so that on a sphere, where it is constant, it ranks nothing.
            "embedding norm": np.round(np.linalg.norm(z, axis=1), 4),
            "compressed size": -evaluate.compressed_size(a).astype(float),
        }

    typical = detectors(xs)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name, other in others.items():
        found = detectors(other)
        table[name] = {}
        for detector, values in typical.items():
            auroc = evaluate.auroc(values, found[detector])
            table[name][detector] = {"auroc": auroc, "auroc_reversed": 1 - auroc}
    return table


def draw(out: Path, scored: Scored, xs: np.ndarray, sigma: np.ndarray, exact: np.ndarray | None) -> list[Path]:
    """Write the pictures beside the CSV and return their paths.

    One of scores against the truth (or their histogram) and the spectrum; of images also the most and least likely.
    """
    figure = Figure(figsize=(10, 4.3), dpi=85, layout="constrained")
    left, right = figure.subplots(1, 2)
    finite = np.isfinite(scored.score)
    if exact is not None and finite.all():
        corrected = np.isfinite(scored.log_density).all()
        learned = scored.log_density if corrected else scored.score
        agreement = evaluate.agreement(learned, exact)
        pictures.scatter(left, learned, exact, agreement.spearman, agreement.slope)
    else:
        left.hist(scored.score[finite], bins=60)
        left.set(xlabel="JEPA-SCORE, nats", ylabel="samples", title=f"{len(scored.score)} samples")
    pictures.spectrum(right, sigma)
    paths = [out.with_suffix(".png")]
    write_atomically(paths[0], lambda temporary: figure.savefig(temporary))
    if xs.ndim == 4 and xs.shape[-1] in (1, 3) and finite.all():
        gallery = Figure(figsize=(10, 4.8), dpi=85, layout="constrained")
        pictures.extremes(gallery, xs, scored.score)
        paths.append(out.with_name(f"{out.stem}_extremes.png"))
        write_atomically(paths[1], lambda temporary: gallery.savefig(temporary))
    return paths
