"""Tokenisers: from a sample to tokens on a rectangular grid. A new one is one file beside these and one line below."""

from collections.abc import Callable
from typing import Any, Protocol

from jax import Array

from jepa_jax import config as cfg
from jepa_jax.models.tokens.patches import Patches

__all__ = ["TOKENISERS", "Patches", "Tokeniser"]

Params = dict[str, Any]


class Tokeniser(Protocol):
    """A frozen dataclass with the static sizes, and a function of weights and one sample.

    Attributes:
      grid: rows and columns of tokens of a sample that positions are for.
    """

    @property
    def grid(self) -> tuple[int, int]: ...  # noqa: D102 - as above

    def grid_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of tokens of a sample of this shape."""
        ...

    def init(self, key: Array) -> Params:
        """Random weights. Disjoint parts of the sample, P numbers each, enter by `kernel` [P, D] alone."""
        ...

    def __call__(self, params: Params, x: Array) -> Array:
        """Tokens [rows * columns, D] of one sample."""
        ...


def _patches(options: cfg.ViT, shape: tuple[int, ...]) -> Patches:
    if len(shape) != 3:
        raise ValueError(f"needs images [H, W, C], and a sample here has shape {list(shape)}; use mlp")
    return Patches((shape[0], shape[1], shape[2]), (options.patch_size, options.patch_size), options.width)


# (options, shape of a sample) -> tokeniser; raises ValueError where they do not fit.
TOKENISERS: dict[str, Callable[[cfg.ViT, tuple[int, ...]], Tokeniser]] = {"patches": _patches}
