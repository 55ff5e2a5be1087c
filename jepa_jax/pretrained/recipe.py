"""Preprocessing of foreign weights: by the files beside them, or else by the custom of their family."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jepa_jax.images.huggingface import from_huggingface
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.images.timm import from_open_clip, from_timm
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.family import Family, Source
from jepa_jax.pretrained.reading import Weights

PICTURE_CHANNELS = (1, 3)
# Fields of the files that hold one number a channel, which are of no use where no picture has these channels.
STATISTICS = ("mean", "std", "image_mean", "image_std")


def recipe_of(
    family: Family, source: Source, weights: Weights, native: ViT, side: int | None
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing of the pictures, and notes on what had to be assumed.

    Args:
      family: Family of the weights.
      source: Weights with their description.
      weights: The same as they were read, with the image processor beside them.
      native: Network at its native resolution.
      side: Side of the images that the caller asks for, or None.

    Returns:
      The recipe; it has 3 channels if the network takes neither 1 nor 3, and then only its size is of use.

    Raises:
      ConfigError: If the files are damaged, ask for what is not supported, or have statistics of other channels.
    """
    pictures = native.channels in PICTURE_CHANNELS
    channels = native.channels if pictures else 3
    notes: tuple[str, ...] = ()
    if (read := _reader(source, weights, native)) is not None:
        follow, content, name = read
        kept = (
            content if pictures else {k: v for k, v in content.items() if k not in STATISTICS} | {"do_normalize": False}
        )
        recipe = follow(kept, name, channels)
    else:
        recipe = _by_custom(family.preprocessing(source, min(native.shape[:2])), native)
        notes = (f"no file describes the preprocessing: that of {recipe.source} is assumed",)
        if channels == 1:
            grey = replace(recipe, mean=_averaged(recipe.mean), std=_averaged(recipe.std), channels=1)
            recipe, notes = grey, (*notes, "the mean and the deviation of grey are assumed to be the averages of RGB's")
    if not pictures:
        notes = (
            f"the images have {native.channels} channels, and no picture has: give arrays, standardised as in training",
        )
    return recipe if side is None else recipe.at_size(side), notes


def _reader(
    source: Source, weights: Weights, native: ViT
) -> tuple[Callable[[Any, str, int], Preprocessing], dict[str, Any], str] | None:
    """Return the function that reads the recipe beside the weights, with its content and the name of its file."""
    said = source.description
    if said.images is not None and said.file is not None:
        if said.origin == "timm":
            return from_timm, dict(said.images), said.file
        return lambda c, n, k: from_open_clip(c, native.shape[:2], n, k), dict(said.images), said.file
    if weights.preprocessor is not None and weights.preprocessor_name is not None:
        return from_huggingface, weights.preprocessor, weights.preprocessor_name
    return None


def _by_custom(recipe: Preprocessing, native: ViT) -> Preprocessing:
    """Return the recipe of a family, which is for squares, for images of the native height and width."""
    height, width, _ = native.shape
    if height == width:
        return recipe
    scale = (recipe.resize if isinstance(recipe.resize, int) else recipe.resize[0]) / recipe.size[0]
    around = (round(height * scale), round(width * scale))
    return replace(recipe, size=(height, width), resize=around, cover=isinstance(recipe.resize, int))


def _averaged(values: tuple[float, ...]) -> tuple[float, ...]:
    return (sum(values) / len(values),)
