"""Trained networks as encoders."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax.density import base_log_density
from jepa_jax.encoder import Encoder
from jepa_jax.models.build import Model

# Ratio of the largest to the smallest deviation of a column, or of either to 1, above which derivatives are taken in
# deviations: `eps`, below which singular values are clipped, is in units of about 1.
UNITS_RATIO = 100.0


@dataclass(frozen=True)
class Density:
    """Normalised log-density of a map that cannot fold. Equal ones are one static argument, so that they compile once.

    Attributes:
      apply: Function (params, x) -> embedding.
      volume: Function (params, x) -> log of the factor by which the map enlarges volumes.
      base: Base distribution of the embedding.
    """

    apply: Callable[[Any, Array], Array]
    volume: Callable[[Any, Array], Array]
    base: str

    def __call__(self, params: Any, x: Array) -> Array:
        """Return the log-density of one sample, in nats."""
        law = base_log_density(self.apply(params, x), self.base)
        assert law is not None
        return self.volume(params, x) + law


def as_encoder(model: Model, params: Any, shape: tuple[int, ...], base: str | None, scale: Any) -> Encoder:
    """Return a network with its weights as an encoder.

    Args:
      model: Network.
      params: Its weights.
      shape: Shape of one sample.
      base: Base distribution of the embedding, or None.
      scale: Standard deviation of the data, broadcastable to `shape`; known values, not traced ones.
    """
    scale = np.broadcast_to(np.asarray(scale, np.float32), shape)
    apart = max(scale.max(), 1) > UNITS_RATIO * min(scale.min(), 1) and model.dim >= scale.size

    of = model.members or (model,)
    exact = [Density(m.apply, m.log_volume, base) for m in of if base is not None and m.log_volume is not None]
    return Encoder(
        params,
        model.apply,
        shape,
        model.dim,
        base,
        model.null_directions,
        volume=model.log_volume,
        densities=tuple(exact),
        maps=tuple((of.apply, of.log_volume) for of in model.members if of.log_volume is not None),
        inverses=tuple(m.inverse for m in of if base is not None and m.inverse is not None),
        units=jnp.asarray(scale) if apart else None,
    )


def weighted(encoder: Encoder, weights: Any) -> Encoder:
    """Return the mixture of the members with these weights [M], whose embedding is that of the heaviest member."""
    apply, volume = encoder.maps[int(np.argmax(weights))]
    return replace(encoder, apply=apply, volume=volume, weights=jnp.asarray(weights, jnp.float32))


def of_raw_samples(encoder: Encoder, offset: tuple[float, ...]) -> Encoder:
    """Return an encoder of centred samples as one of samples from which the offset was not subtracted.

    It subtracts the offset as two numbers of float32, which loses nothing that a sample in float32 has. A sample in
    float64, with `jax.enable_x64`, keeps all of its digits.

    Args:
      encoder: Encoder of samples less the offset.
      offset: Offset [D], or () for none.
    """
    if not any(offset):
        return encoder
    high = np.asarray(offset, np.float32)
    low = (np.asarray(offset) - high).astype(np.float32)

    def centred(params: Any, x: Any) -> Any:
        less = (x - high.astype(x.dtype)) - low.astype(x.dtype)
        return less.astype(params["input"]["scale"].dtype)

    def wrapped(function: Any) -> Any:
        return None if function is None else lambda params, x, *how: function(params, centred(params, x), *how)

    def moved(inverse: Any) -> Any:
        def function(params: Any, u: Any) -> Any:
            x = inverse(params, u)
            return (x + low.astype(x.dtype)) + high.astype(x.dtype)

        return function

    return replace(
        encoder,
        apply=wrapped(encoder.apply),
        factor=wrapped(encoder.factor),
        volume=wrapped(encoder.volume),
        densities=tuple(map(wrapped, encoder.densities)),
        maps=tuple(tuple(map(wrapped, member)) for member in encoder.maps),
        inverses=tuple(map(moved, encoder.inverses)),
    )
