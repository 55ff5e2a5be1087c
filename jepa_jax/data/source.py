"""What a run trains on, and the fixed samples on which its density is evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.loader import Loader
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import World

PROBE_SEED = 20251007  # of the probe set, the same for every run
NOISE_FRACTION = 0.1  # of the data's standard deviation: the view noise of arrays and streams


@dataclass(frozen=True)
class Probe:
    """A fixed set of samples on which the density is evaluated.

    Attributes:
      x: [N, ...].
      log_density: [N], exact, or None.
      log_density_smoothed: [N], of the density convolved with the view noise, or None.
      tangent: [N, D, d], orthonormal bases of the manifold's tangent spaces, or None.
      label: [N], or None.
    """

    x: Array
    log_density: Array | None = None
    log_density_smoothed: Array | None = None
    tangent: Array | None = None
    label: Array | None = None


@dataclass(frozen=True)
class Source:
    """What a run trains on.

    Attributes:
      shape: of one sample.
      noise: standard deviation of the view noise, in the data's units (a scalar, or per input number).
      batch_size: B, no larger than the number of rows there are.
      mean, scale: what standardises the samples, broadcastable to `shape`.
      arrays: what `draw` reads; an argument of the compiled step, so that data are not constants in it. For a stream,
        the shapes and types of a batch, of all processes together.
      draw: (arrays, key) -> a batch of examples, a dict of arrays [B, ...], and the key [B] of each for its views. An
        example is what `views.pipeline` takes: `x`, and `pair` where rows have partners; or the `state` of a world.
      probe: n -> a Probe of at most n samples.
      world: the World, where the source is one.
      labelled: n -> at most n samples [N, *shape] and labels [N] of those that are trained on, for probes to be fitted
        on, where there are labels and others to judge them on; or None. Bytes are pixels.
      batches: () -> a loader of batches that stand in the place of `arrays`, one a step, where samples are read as
        training goes; or None.
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


jax.tree_util.register_dataclass(Probe)


def refuse_options(data: cfg.Data, shape: tuple[int, ...]) -> None:
    """Refuse options that samples of this shape do not have.

    Raises:
      ConfigError: the option, and why.
    """
    if data.rho is not None:
        raise ConfigError(f"`data.rho` is for worlds with Gaussian latents; {data.source} has rows")
    if data.shift and len(shape) != 3:
        raise ConfigError(
            f"`data.shift` is for images [H, W, C], and a sample of {data.source} has shape {list(shape)}"
        )


def standardise(x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation: per number for vectors, one for all of an image."""
    axes = (0,) if x.ndim == 2 else None
    std = jnp.std(x, axis=axes)
    # A number that never varies must not be blown up.
    return jnp.mean(x, axis=axes), jnp.maximum(std, 1e-3 * jnp.max(std) + 1e-12)
