"""Distributions ("laws") of masks on a grid of tokens.

To add a law, add a file here and an entry to `LAWS`.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from jepa_jax.masking.blocks import Blocks
from jepa_jax.masking.cross import Cross
from jepa_jax.masking.curriculum import Curriculum
from jepa_jax.masking.masks import Law, Masks, pack
from jepa_jax.masking.windows import Windows


def law_of(options: Any) -> Law:
    """Return the law of a config's `recipe.mask`, or of one of its parts.

    Raises:
      ValueError: If no mask can have the values.
    """
    return LAWS[options.kind](options)


def _curriculum(options: Any) -> Curriculum:
    return Curriculum(law_of(options.early), law_of(options.late), options.start)


def _cross(options: Any) -> Cross:
    return Cross(**{field.name: getattr(options, field.name) for field in fields(Cross)})


# Each entry maps the options of a config's `recipe.mask` to a law, or raises ValueError if no mask can have the values.
LAWS: dict[str, Callable[[Any], Law]] = {
    "blocks": lambda options: Blocks(options.targets),
    "cross": _cross,
    "windows": lambda options: Windows(options.size, options.share),
    "curriculum": _curriculum,
}

__all__ = ["LAWS", "Blocks", "Cross", "Curriculum", "Law", "Masks", "Windows", "law_of", "pack"]
