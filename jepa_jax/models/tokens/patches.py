"""Patches of an image as tokens."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

Params = dict[str, Any]


@dataclass(frozen=True)
class Patches:
    """Rectangular patches of an image [H, W, C], each mapped by one linear map.

    Attributes:
      shape: Shape [H, W, C] of the images for which positions are defined; images of other sizes are divided in the
        same way, if their sides are multiples of a patch.
      patch: Height and width of a patch in pixels.
      width: Width of a token, D.
      bias: Whether the linear map has a bias.

    Raises:
      ValueError: If the patches do not divide the image.
    """

    shape: tuple[int, int, int]
    patch: tuple[int, int]
    width: int
    bias: bool = True

    def __post_init__(self) -> None:
        """Check that the sizes are compatible."""
        for side, patch in zip(self.shape, self.patch, strict=False):
            if side < patch or side % patch:
                raise ValueError(f"image size {side} is not a multiple of patch size {patch}")

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
        """Return random weights: `kernel` [P, D] and, if the map has a bias, `bias` [D]."""
        params = {"kernel": nnx.initializers.lecun_normal()(key, (self.numbers, self.width))}
        return params | ({"bias": jnp.zeros(self.width)} if self.bias else {})

    def __call__(self, params: Params, x: Array) -> Array:
        """Return the tokens [rows * columns, D] of an image [H, W, C]."""
        (rows, columns), (height, width) = self.grid_of(x.shape), self.patch
        patches = x.reshape(rows, height, columns, width, -1).swapaxes(1, 2).reshape(rows * columns, -1)
        tokens = patches @ params["kernel"]
        return tokens + params["bias"][None] if self.bias else tokens
