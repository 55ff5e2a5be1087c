"""Patches of an image as tokens."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

Params = dict[str, Any]


@dataclass(frozen=True)
class Patches:
    """Rectangular patches of an image [H, W, C], each through one linear map.

    Attributes:
      shape: H, W, C of the images that positions are for; others, of whole patches, are cut in the same way.
      patch: height and width of a patch in pixels.
      width: D of a token.
      bias: whether the map has one.

    Raises:
      ValueError: patches that do not divide the image.
    """

    shape: tuple[int, int, int]
    patch: tuple[int, int]
    width: int
    bias: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit."""
        for side, patch in zip(self.shape, self.patch, strict=False):
            if side < patch or side % patch:
                raise ValueError(f"image size {side} is not a multiple of patch size {patch}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.grid_of(self.shape)

    def grid_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches of an image of this shape."""
        return shape[0] // self.patch[0], shape[1] // self.patch[1]

    @property
    def numbers(self) -> int:
        """Numbers in a patch: P = height * width * C."""
        return self.patch[0] * self.patch[1] * self.shape[2]

    def init(self, key: Array) -> Params:
        """Random weights: `kernel` [P, D] and, where there is one, `bias` [D]."""
        params = {"kernel": nnx.initializers.lecun_normal()(key, (self.numbers, self.width))}
        return params | ({"bias": jnp.zeros(self.width)} if self.bias else {})

    def __call__(self, params: Params, x: Array) -> Array:
        """Tokens [rows * columns, D] of an image [H, W, C]."""
        (rows, columns), (height, width) = self.grid_of(x.shape), self.patch
        patches = x.reshape(rows, height, columns, width, -1).swapaxes(1, 2).reshape(rows * columns, -1)
        tokens = patches @ params["kernel"]
        return tokens + params["bias"][None] if self.bias else tokens
