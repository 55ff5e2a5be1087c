"""Laws of masks on a grid of tokens. A new law is one file beside these and one line in `LAWS`."""

from collections.abc import Callable
from typing import Any

from jepa_jax.masking.blocks import Blocks
from jepa_jax.masking.masks import Law, Masks, pack

# Options of a config's `recipe.mask` -> the law; raises ValueError for values that no mask can have.
LAWS: dict[str, Callable[[Any], Law]] = {"blocks": lambda options: Blocks(options.targets)}

__all__ = ["LAWS", "Blocks", "Law", "Masks", "pack"]
