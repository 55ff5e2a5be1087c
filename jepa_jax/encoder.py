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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Encoder:
    """`encoder(x)` maps one sample to its embedding [K]; goes into `jax.vmap`, `jax.jacrev`, `jax.jit`.

    Attributes:
      params: the weights.
      apply: (params, x) -> [K].
      shape: of one sample.
      dim: K.
      law: the law training drove the embedding to: `normal`, `sphere`, or None if unknown.
      null_directions: output directions that are constant by construction.
      factor: (params, x, chunk) -> a matrix with the singular values of the Jacobian at x, where the network has a
        faster way to it than to differentiate itself; or None.
    """

    params: Any
    apply: Callable[[Any, Array], Array] = field(metadata={"static": True})
    shape: tuple[int, ...] = field(metadata={"static": True})
    dim: int = field(metadata={"static": True})
    law: str | None = field(default=None, metadata={"static": True})
    null_directions: int = field(default=0, metadata={"static": True})
    factor: Callable[[Any, Array, int | None], Array] | None = field(default=None, metadata={"static": True})

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
    def jacobian_factor(self) -> Callable[[Array, int | None], Array] | None:
        """`factor` with the weights: what the scorer asks for before it differentiates."""
        return None if self.factor is None else partial(self.factor, self.params)

    def preprocess(self, image: np.ndarray) -> Array:
        """A picture as the sample this encoder expects.

        Args:
          image: uint8, [H, W] or [H, W, C] with 1 or 3 channels, of any size.

        Returns:
          [*shape] in [0, 1]: resized (bilinear, antialiased), grey or colour as the encoder was trained.

        Raises:
          ValueError: the encoder does not take images, or the image is of another kind.
        """
        if len(self.shape) != 3 or self.shape[2] not in (1, 3):
            raise ValueError(f"this encoder takes samples of shape {list(self.shape)}, not images")
        image = np.asarray(image)
        if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))):
            raise ValueError(f"an image is uint8 [H, W] or [H, W, 1 or 3], not {image.dtype} {list(image.shape)}")
        height, width, channels = self.shape
        picture = Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)
        picture = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
        return jnp.asarray(np.asarray(picture, np.float32).reshape(self.shape) / 255)
