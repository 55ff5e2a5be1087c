"""Tokenisers from a sample to tokens on a rectangular grid.

A new tokeniser needs a new file in this folder and an entry in `TOKENISERS`.
"""

from collections.abc import Callable
from typing import Any, Protocol

from jax import Array

from jepa_jax import config as cfg
from jepa_jax.models.tokens.patches import Patches

__all__ = ["TOKENISERS", "Patches", "Tokeniser"]

Params = dict[str, Any]


class Tokeniser(Protocol):
    """Frozen dataclass with static sizes, and functions of the weights and one sample.

    Attributes:
      grid: Numbers of rows and columns of tokens of a sample of the size for which positions are defined.
    """

    @property
    def grid(self) -> tuple[int, int]: ...  # noqa: D102 - as above

    def grid_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the numbers of rows and columns of tokens of a sample of this shape."""
        ...

    def init(self, key: Array) -> Params:
        """Return random weights; disjoint parts of the sample, of P numbers each, enter by `kernel` [P, D] alone."""
        ...

    def __call__(self, params: Params, x: Array) -> Array:
        """Return the tokens [rows * columns, D] of one sample."""
        ...

    def divided(self, x: Array) -> Array:
        """Return the numbers of one sample in each token, [rows * columns, P]."""
        ...


def _patches(options: cfg.ViT, shape: tuple[int, ...]) -> Patches:
    size = options.patch_size
    patch = (size, size) if isinstance(size, int) else (size[0], size[-1])
    if len(shape) == 1 and (options.per_row or options.categories) and patch == (1, 1):
        shape = (shape[0], 1, 1)  # a table, whose columns are the rows of the grid
    if len(shape) != 3:
        more = ", or for a table patch_size 1 and per_row" if len(shape) == 1 else ""
        raise ValueError(f"needs images [H, W, C]{more}, but a sample has shape {list(shape)}; use mlp")
    image = (shape[0], shape[1], shape[2])
    bias = options.patch_bias if isinstance(options, cfg.PretrainedViT) else True
    return Patches(image, patch, options.width, bias, options.per_row, options.categories)


# Functions (options, shape of a sample) -> tokeniser; they raise ValueError if the two are incompatible.
TOKENISERS: dict[str, Callable[[cfg.ViT, tuple[int, ...]], Tokeniser]] = {"patches": _patches}
