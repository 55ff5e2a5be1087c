"""Source of the data of a run, and the fixed samples on which its density is evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jepa_jax import config as cfg
from jepa_jax.data.loader import Loader
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import World

PROBE_SEED = 20251007  # seed of the probe set, the same for every run
NOISE_FRACTION = 0.1  # default view noise of images and streams, relative to the standard deviation of the data
NUM_QUANTILES = 64  # of the data, at which the components of a triangular map start
OUTLIER_RATIO = 10.0  # of the deviation to that from the quartiles, above which outliers determine the deviation
QUARTILES_APART = 1.349  # distance of the quartiles of N(0, 1)
LARGEST = 1e18  # magnitude above which squares and their sums leave the range of float32
SMALLEST = 1e-18  # range of a number below which squares leave the range of float32; it counts as constant
QUANTILE_SAMPLES = 10_000  # samples from which they are computed


@dataclass(frozen=True)
class Probe:
    """Fixed set of samples on which the density is evaluated.

    Attributes:
      x: Samples [N, ...].
      log_density: Exact log-density [N], or None.
      log_density_smoothed: Log-density [N] of the density convolved with the view noise, or None.
      tangent: Orthonormal bases of the tangent spaces of the manifold, [N, D, d], or None.
      label: Labels [N], -1 for no label; or None.
    """

    x: Array
    log_density: Array | None = None
    log_density_smoothed: Array | None = None
    tangent: Array | None = None
    label: Array | None = None


@dataclass(frozen=True)
class Source:
    """Source of the data of a run.

    Attributes:
      shape: Shape of one sample.
      noise: Standard deviation of the view noise in the units of the data, a scalar or one value per input number.
      batch_size: B, at most the number of rows in the data.
      mean: Mean that standardises the samples, broadcastable to `shape`.
      scale: Scale that standardises the samples, broadcastable to `shape`.
      arrays: Arrays that `draw` reads. They are an argument of the compiled step, so that the data are not constants in
        it. For a stream, the shapes and types of a batch over all processes.
      draw: Function (arrays, key) -> a batch of examples, a dict of arrays [B, ...], and the key of each for its views,
        [B]. An example is an input of `views.pipeline`: `x`, and `pair` if rows have partners; or the `state` of a
        world.
      probe: Function n -> a Probe of at most n samples.
      world: World, if the source is one; or None.
      labelled: Function n -> at most n training samples [N, *shape] and their labels [N], on which probes are fitted;
        uint8 samples are pixels. None unless there are labels and other samples for evaluation.
      quantiles: Quantiles of every number of the vectors, [Q, D], at (q + 1/2) / Q; None for images.
      notes: Sentences about the data that a user should know of.
      degenerate: Whether the data fill no volume, so that they have no density.
      known: Function n -> at most n training samples [n, *shape]; None for a stream.
      conditions: Number C of the numbers that are known when the second view of an example is predicted from the first,
        which are its `condition` [C] or that of its world; 0 without them.
      categories: Number of categories of each input number, 0 for a continuous one; () if all are continuous.
      columns: Names of the columns of a table, () for other data.
      levels: Values of the columns of categories of a table, as `COLUMN=VALUE` in the order of their codes.
      offset: Number that was subtracted from each column before it was rounded to float32; () for none.
      row_features: Numbers [H, G] that describe the rows of a sample [H, W, C], from which positions can be learned,
        such as places of sensors; or None.
      held_out: Whether some samples in memory are kept out of training.
      digest: SHA-256 of the samples; None for a world, which draws new ones, and for a stream.
      batches: Function () -> a loader, whose batches take the place of `arrays`, one in each step, if samples are read
        during training; or None.
    """

    shape: tuple[int, ...]
    noise: Any
    batch_size: int
    mean: Array
    scale: Array
    arrays: Any
    draw: Callable[[Any, Array], tuple[dict[str, Array], Array]]
    probe: Callable[[int], Probe]
    world: World | None = None
    labelled: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None
    batches: Callable[[], Loader] | None = None
    quantiles: Array | None = None
    notes: tuple[str, ...] = ()
    degenerate: bool = False
    known: Callable[[int], Array] | None = None
    digest: bytes | None = None
    held_out: bool = False
    conditions: int = 0
    categories: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    offset: tuple[float, ...] = ()
    row_features: np.ndarray | None = None

    @property
    def noise_is_local(self) -> bool:
        """Whether every row has a noise of its own."""
        return isinstance(self.arrays, dict) and "noise" in self.arrays


jax.tree_util.register_dataclass(Probe)


def refuse_options(data: cfg.Data, shape: tuple[int, ...]) -> None:
    """Check that no option is set that samples of this shape do not have.

    Raises:
      ConfigError: If one is set; the message names the option and the reason.
    """
    if data.rho is not None:
        raise ConfigError(f"`data.rho` is for worlds with Gaussian latents, and {data.source} is not a world")
    if data.shift and len(shape) != 3:
        raise ConfigError(
            f"`data.shift` is for images [H, W, C], and a sample of {data.source} has shape {list(shape)}"
        )


def check_values(x: np.ndarray, name: str) -> None:
    """Check that samples [N, ...] are no larger than float32 can square, and differ by more than its rounding.

    Raises:
      ConfigError: If they are larger, or no number varies among them, so that they have no density.
    """
    large = np.flatnonzero(((x > LARGEST) | (x < -LARGEST)).reshape(len(x), -1).any(axis=1))
    if len(large):
        raise ConfigError(
            f"{name}: x is beyond {LARGEST:.0e}, too large to train on, in {len(large)} rows, the first is row "
            f"{large[0]}; divide by a constant, or drop them if they mark missing values"
        )
    if len(x) > 1 and _constant(x, 0).all():
        raise ConfigError(
            f"{name}: all samples are the same, so that there is no density to learn; if they differ before they are "
            "rounded to float32, subtract their mean and divide by their deviation first"
        )


def _constant(x: np.ndarray, axis: int | None) -> np.ndarray:
    """Return whether numbers never vary along an axis, to the rounding of their size."""
    # By the range, because a small deviation around a large mean is lost in float32 before the range is.
    low, high = x.min(axis=axis), x.max(axis=axis)
    rounding = 10 * np.finfo(x.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    return high - low <= np.maximum(rounding, SMALLEST)


def quantiles_of(x: Array) -> Array | None:
    """Return quantiles of every number of vectors [N, D] at (q + 1/2) / Q, [Q, D]; None for images."""
    if x.ndim != 2:
        return None
    return jnp.quantile(x[:QUANTILE_SAMPLES], (jnp.arange(NUM_QUANTILES, dtype=x.dtype) + 0.5) / NUM_QUANTILES, axis=0)


def standardise(x: ArrayLike, categories: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Return the mean and the standard deviation, per number for vectors and over all numbers for images.

    A number that never varies, to the rounding of its size, has scale 1. One with outliers so far away that they alone
    determine its deviation has that of a normal distribution with the same quartiles. All sums are float64.

    Args:
      x: Samples [N, ...], float32.
      categories: Number of categories of each number of vectors, 0 for continuous ones; categories stay as they are.
    """
    x = np.asarray(x)
    axis = 0 if x.ndim == 2 else None
    mean, std = np.mean(x, axis=axis, dtype=np.float64), np.std(x, axis=axis, dtype=np.float64)
    if x.ndim == 2:
        low, middle, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
        robust = (high - low) / QUARTILES_APART
        outliers = (robust > 0) & (std > OUTLIER_RATIO * robust)
        mean, std = np.where(outliers, middle, mean), np.where(outliers, robust, std)
    scale = np.where(_constant(x, axis), 1.0, std)
    if categories:
        kept = np.asarray(categories) > 0
        mean, scale = np.where(kept, 0.0, mean), np.where(kept, 1.0, scale)
    return jnp.asarray(mean, x.dtype), jnp.asarray(scale, x.dtype)
