"""Distributions ("laws") of masks on a grid of tokens.

To add a law, add a file here and an entry to `LAWS`.
"""

from collections.abc import Callable
from typing import Any

from jepa_jax.masking.blocks import Blocks
from jepa_jax.masking.masks import Law, Masks, pack

# Each entry maps the options of a config's `recipe.mask` to a law, or raises ValueError if no mask can have the values.
LAWS: dict[str, Callable[[Any], Law]] = {"blocks": lambda options: Blocks(options.targets)}

__all__ = ["LAWS", "Blocks", "Law", "Masks", "pack"]
