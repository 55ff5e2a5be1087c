"""A trained encoder as one object: a pure function of one sample that carries its weights as a pytree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from PIL import Image

from jepa_jax.images import Preprocessing, squashed


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)  # by identity, so that jax.jit takes one
class Encoder:
    """`encoder(x)` maps one sample to its embedding [K]; goes into `jax.vmap`, `jax.jacrev`, `jax.jit`.

    Attributes:
      params: the weights.
      apply: (params, x) -> [K].
      shape: of one sample.
      dim: K.
      base: distribution p(z) that training drove the embedding to: `normal`, `sphere`, or None if unknown.
      null_directions: output directions that are constant by construction.
      factor: (params, x, chunk, platform) -> a matrix with the singular values of the Jacobian at x, where the
        network has a faster way to it than to differentiate itself; or None.
      preprocessing: from a picture to x, where the weights came with a recipe of their own; or None.
    """

    params: Any
    apply: Callable[[Any, Array], Array] = field(metadata={"static": True})
    shape: tuple[int, ...] = field(metadata={"static": True})
    dim: int = field(metadata={"static": True})
    base: str | None = field(default=None, metadata={"static": True})
    null_directions: int = field(default=0, metadata={"static": True})
    factor: Callable[[Any, Array, int | None, str], Array] | None = field(default=None, metadata={"static": True})
    preprocessing: Preprocessing | None = field(default=None, metadata={"static": True})

    def __call__(self, x: Array) -> Array:
        """Embedding [K] of one sample [*shape].

        Raises:
          ValueError: x is not one sample of this encoder.
        """
        if x.shape != self.shape:
            raise ValueError(
                f"the encoder takes one sample of shape {list(self.shape)}, not {list(x.shape)}; "
                "for a batch, jax.vmap(encoder)(xs)"
            )
        return self.apply(self.params, x)

    @property
    def jacobian_factor(self) -> Callable[[Array, int | None, str], Array] | None:
        """`factor` with the weights: what the scorer asks for before it differentiates."""
        return None if self.factor is None else partial(self.factor, self.params)

    @property
    def takes_images(self) -> bool:
        """Whether samples are images [H, W, C], grey or in colour."""
        return len(self.shape) == 3 and self.shape[2] in (1, 3)

    @property
    def picture_preprocessing(self) -> Preprocessing | None:
        """What `preprocess` does: `preprocessing`, or squashing to the shape; None for an encoder of other samples."""
        return self.preprocessing or (squashed(self.shape) if self.takes_images else None)

    def preprocess(self, image: np.ndarray | Image.Image) -> Array:
        """A picture as the sample this encoder expects.

        Args:
          image: uint8, [H, W] or [H, W, C] with 1 or 3 channels, or one that Pillow has read; of any size.

        Returns:
          [*shape], by the encoder's own recipe; without one, squashed to its size (bilinear, antialiased), in [0, 1],
          grey or colour as the encoder was trained.

        Raises:
          ValueError: the encoder does not take images, or the image is of another kind.
        """
        return jnp.asarray((self.preprocessing or squashed(self.shape))(image))
