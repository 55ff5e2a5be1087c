"""Description of converted weights in words: what was found, and how pictures are brought to them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jepa_jax.images.preprocessing import Preprocessing


def in_words(
    origin: Mapping[str, Any], shape: Sequence[int], dim: int, preprocessing: Preprocessing | None
) -> list[str]:
    """Return lines that say which encoder was taken and what is done to a picture, without the notes.

    Args:
      origin: Description of the weights; older model directories lack some of its entries.
      shape: Shape of an image [H, W, C].
      dim: Width of the embedding, K.
      preprocessing: Recipe from a picture to an image, or None.
    """
    role = origin.get("role") or origin.get("branch")
    facts = [
        f"{origin['heads']} heads" if origin.get("heads") else "",
        origin.get("activation") or "",
        f"patches of {size_in_words(origin['patch_size'])}" if origin.get("patch_size") else "",
    ]
    name = f"{origin['family']} {origin['arch'] or 'of an unpublished size'}"
    first = f"{name} ({origin['layout']}{f', {role}' if role else ''})"
    facts = ", ".join(fact for fact in facts if fact)
    resized = ""
    if origin["positions"] != "as they are":
        resized = f", positions from {size_in_words(origin['native_image_size'])} px ({origin['positions']})"
    lines = [
        f"{first}: {facts}" if facts else first,
        f"embedding: {dim} numbers for an image of {size_in_words(tuple(shape[:2]))} px{resized}",
    ]
    return lines + ([] if preprocessing is None else [f"preprocessing: {recipe_in_words(preprocessing)}"])


def recipe_in_words(recipe: Preprocessing) -> str:
    """Return a description of a recipe."""
    if recipe.resize == recipe.size and not recipe.cover:
        sizes = f"squashed to {size_in_words(recipe.size)}"
    elif isinstance(recipe.resize, int):
        sizes = f"resized to {recipe.resize} (shortest side), cropped to {size_in_words(recipe.size)}"
    else:
        sizes = f"resized to {'cover ' * recipe.cover}{size_in_words(recipe.resize)}, cropped to "
        sizes += size_in_words(recipe.size)
    mean, std = (" ".join(f"{v:.3f}" for v in values) for values in (recipe.mean, recipe.std))
    return f"{sizes}, {recipe.resample}; mean {mean}, deviation {std} ({recipe.source})"


def size_in_words(size: int | Sequence[int]) -> str:
    """Return a side, or height and width if they differ."""
    sides = [size] if isinstance(size, int) else list(size)
    return str(sides[0]) if len(set(sides)) == 1 else " x ".join(map(str, sides))
