"""Rectangular patches of a sample as tokens: of an image, a series, a spectrogram, or columns of a table."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

Params = dict[str, Any]


@dataclass(frozen=True)
class Patches:
    """Rectangular patches of an image [H, W, C], each mapped by one linear map, or one for each row of patches.

    Attributes:
      shape: Shape [H, W, C] of the images for which positions are defined; images of other sizes are divided in the
        same way, if their sides are multiples of a patch.
      patch: Height and width of a patch in pixels.
      width: Width of a token, D.
      bias: Whether the linear map has a bias.
      per_row: Whether each row of patches has a map of its own.
      categories: Number of categories in each row of numbers, 0 for continuous numbers; () if all are continuous. A
        category is a whole number from 0; each has a vector of its own in place of the map. Patches are then one number
        each.

    Raises:
      ValueError: If the patches do not divide the image, or rows of categories are divided otherwise.
    """

    shape: tuple[int, int, int]
    patch: tuple[int, int]
    width: int
    bias: bool = True
    per_row: bool = False
    categories: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the sizes are compatible."""
        for side, patch in zip(self.shape, self.patch, strict=False):
            if side < patch or side % patch:
                raise ValueError(f"image size {side} is not a multiple of patch size {patch}")
        if self.categories and (self.numbers, len(self.categories)) != (1, self.shape[0]):
            raise ValueError(f"categories are columns of a table, whose patch size is 1, not {self.patch}")

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of rows and columns of patches."""
        return self.grid_of(self.shape)

    def grid_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the numbers of rows and columns of patches of an image of this shape."""
        return shape[0] // self.patch[0], shape[1] // self.patch[1]

    @property
    def numbers(self) -> int:
        """Number of values in a patch: P = height * width * C."""
        return self.patch[0] * self.patch[1] * self.shape[2]

    def init(self, key: Array) -> Params:
        """Return random weights: `kernel` [P, D] and, if the map has a bias, `bias` [D].

        With a map for each row these are [rows, P, D] and [rows, D]. With categories there are `vectors` of all of
        them, [categories, D].
        """
        kernel = nnx.initializers.lecun_normal()
        if not self.per_row:
            params = {"kernel": kernel(key, (self.numbers, self.width))}
            bias = jnp.zeros(self.width)
        else:
            keys = jax.random.split(key, self.grid[0])
            params = {"kernel": jax.vmap(lambda k: kernel(k, (self.numbers, self.width)))(keys)}
            bias = jnp.zeros((self.grid[0], self.width))
        if self.categories:
            draw = jax.random.fold_in(key, 1)
            params["vectors"] = jax.random.normal(draw, (sum(self.categories), self.width))
        return params | ({"bias": bias} if self.bias else {})

    def __call__(self, params: Params, x: Array) -> Array:
        """Return the tokens [rows * columns, D] of an image [H, W, C]."""
        rows, columns = self.grid_of(x.shape)
        patches = self.divided(x)
        if not self.per_row:
            tokens = patches @ params["kernel"]
            tokens = tokens + params["bias"][None] if self.bias else tokens
        else:
            each = jnp.einsum("rcp,rpd->rcd", patches.reshape(rows, columns, -1), params["kernel"])
            each = each + params["bias"][:, None] if self.bias else each
            tokens = each.reshape(rows * columns, -1)
        return self._with_categories(params, x, tokens) if self.categories else tokens

    def divided(self, x: Array) -> Array:
        """Return the numbers in each patch of an image [H, W, C], [rows * columns, P]."""
        (rows, columns), (height, width) = self.grid_of(x.shape), self.patch
        return x.reshape(rows, height, columns, width, -1).swapaxes(1, 2).reshape(rows * columns, -1)

    def _with_categories(self, params: Params, x: Array, tokens: Array) -> Array:
        """Return the tokens in which those of categories are their vectors.

        A category beyond the known ones has not-a-number as its vector, so that it cannot pass for another one.
        """
        known = np.array(self.categories)
        first = jnp.asarray(np.cumsum(known) - known, jnp.int32)
        # The numbers of a category have no derivative: another category is another sample, not a direction.
        code = jax.lax.stop_gradient(jnp.round(x.reshape(-1))).astype(jnp.int32)
        valid = (code >= 0) & (code < jnp.asarray(known, jnp.int32))
        vectors = params["vectors"][jnp.where(valid, first + code, 0)]
        vectors = jnp.where(valid[:, None], vectors, jnp.nan)
        return jnp.where((known > 0)[:, None], vectors, tokens)
