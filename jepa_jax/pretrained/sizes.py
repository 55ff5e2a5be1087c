"""Sizes of a network: by the shapes of its tensors, its config file, the published sizes and the options."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.models.transformer import Pooling
from jepa_jax.pretrained.description import Description
from jepa_jax.pretrained.family import Arch, Layout, Options, Source
from jepa_jax.pretrained.fields import CONFIG_LABEL, configured, positive
from jepa_jax.pretrained.reading import Tensor
from jepa_jax.pretrained.table import below_zeros

POOLING: dict[str, Pooling] = {"token": "class", "avg": "mean"}  # by timm's names


def sizes(source: Source) -> dict[str, Any]:
    """Return width, depth, patch size, channels and hidden width, as determined by the shapes.

    Raises:
      ConfigError: If the shapes are not those of a vision transformer.
    """
    kernel = source.shape("patch/kernel")
    if len(kernel) != 4 or kernel[2] != kernel[3]:
        raise ConfigError(f"{source.name}: the patch embedding has shape {list(kernel)}, not [D, C, P, P]")
    if not source.depth:
        raise ConfigError(f"{source.name} has no blocks; the file is incomplete")
    width, channels, patch, _ = kernel
    hidden = source.shape("blocks/fc2/kernel")[-1]
    return {"width": width, "depth": source.depth, "patch_size": patch, "channels": channels, "hidden": hidden}


def native_size(source: Source, patch: int, class_token: bool) -> int | tuple[int, int]:
    """Return the size in pixels of the images for which the file has positions: a side, or height and width.

    Args:
      source: File of weights.
      patch: Side of a patch in pixels.
      class_token: Whether the network has a class token, whose position precedes those of the patches.

    Raises:
      ConfigError: If the positions of the patches are not those of the image size in the config file; or if there is
        none, and they do not form a square.
    """
    count = source.placed("positions")[0] - class_token
    said, size = source.description, said_size(source.description)
    if size is not None:
        rows, columns = (side // patch for side in size)
        if rows * columns != count:
            spelled, value = said.spelled("image_size"), said.fields["image_size"]
            raise contradiction(
                source,
                f"{spelled} = {value!r}, which is {rows} x {columns} patches of {patch} pixels, and the tensors have "
                f"{count} positions of patches",
            )
        return size[0] // patch * patch if rows == columns else (rows * patch, columns * patch)
    side = round(max(count, 0) ** 0.5)
    if side < 1 or side**2 != count:
        raise ConfigError(f"{source.name}: {count} positions of patches do not form a square")
    return side * patch


def said_size(said: Description) -> tuple[int, int] | None:
    """Return the height and the width of the images that a description states, or None.

    Raises:
      ConfigError: If it states something else.
    """
    value = said.fields.get("image_size")
    if value is None:
        return None
    sides = value if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        raise ConfigError(f"{said.file} has {said.spelled('image_size')} = {value!r}; it should be one or two sides")
    return sides[0], sides[1]


def contradiction(source: Source, what: str) -> ConfigError:
    """Return the error for a description that does not belong to the tensors."""
    file = source.description.file
    return ConfigError(
        f"{file} beside {source.name} describes another model: {what}; put the {file} of these weights there"
    )


def pooling_of(source: Source, class_token: bool) -> Pooling:
    """Return the pooling that the config file names (timm), or else that by the class token if there is one.

    Raises:
      ConfigError: If the file names another one.
    """
    said = source.description
    named = configured(source.config, "pooling", "", str) or ("token" if class_token else "avg")
    if named not in POOLING or (named == "token" and not class_token):
        known = "token, avg" if class_token else "avg, as there is no class token"
        raise ConfigError(f"{said.file} has {said.spelled('pooling')} = {named!r}; known: {known}")
    return POOLING[named]


def class_position(layout: Layout, tensors: Mapping[str, Tensor], said: Description) -> Layout:
    """Return the layout with a rule for positions that has a row for the class token, if the file has none.

    timm adds the position of the class token to that token where it keeps the others alone.
    """
    at = next(i for i, rule in enumerate(layout.rules) if rule.target == "positions")
    rule, token = layout.rules[at], next((r.source for r in layout.rules if r.target == "class_token"), None)
    if not rule.source.endswith("pos_embed") or not tensors.keys() >= {rule.source, token}:
        return layout
    shape = tensors[rule.source].shape
    size, patch = said_size(said), next(r.source for r in layout.rules if r.target == "patch/kernel")
    squares = [math.isqrt(shape[1]) ** 2]
    if size is not None and patch in tensors:
        squares.append(math.prod(side // tensors[patch].shape[-1] for side in size))
    if shape[1] not in squares:
        return layout
    return replace(layout, rules=(*layout.rules[:at], replace(rule, how=below_zeros), *layout.rules[at + 1 :]))


def named_arch(options: Options, archs: dict[str, Arch], found: dict[str, Any], name: str) -> Arch | None:
    """Return the published size that the options name, or else the one that has the shapes of the file.

    Args:
      options: Options of the caller.
      archs: Published sizes by name.
      found: Result of `sizes`.
      name: Name of the file, for the message.

    Returns:
      The size, or None if the options name none and no published size has these shapes.

    Raises:
      ConfigError: If the name is unknown, or the file does not have the shapes of that size.
    """
    if options.arch is None:
        fits = [a for a in archs.values() if (a.width, a.depth) == (found["width"], found["depth"])]
        return next((a for a in fits if a.patch in (None, found["patch_size"])), fits[0] if fits else None)
    known = {key.lower(): a for key, a in archs.items()}
    arch = known.get(options.arch.lower())
    if arch is None:
        raise ConfigError(f"`arch` {options.arch} is unknown; known: {', '.join(archs)}")
    if (arch.width, arch.depth) != (found["width"], found["depth"]) or arch.patch not in (None, found["patch_size"]):
        raise ConfigError(
            f"{name} has width {found['width']}, depth {found['depth']} and patches of {found['patch_size']}, "
            f"which is not `arch` {options.arch}"
        )
    return arch


def resolve_heads(source: Source, options: Options, arch: Arch | None, width: int) -> int:
    """Return the number of heads from the config file, the options or the published size, in this order.

    Args:
      source: File of weights with its description.
      options: Options of the caller.
      arch: Published size, or None.
      width: Width of a token.

    Raises:
      ConfigError: If none of them gives the number, if config file and options differ, or if the number does not divide
        the width.
    """
    name, said = source.name, source.description
    stated = positive(source.config, "num_attention_heads")
    heads = stated or options.heads or (arch.heads if arch else None)
    if heads is None:
        raise ConfigError(
            f"{name} does not specify its number of attention heads, and its size (width {width}) is not a published "
            f"one: convert it with python -m jepa_jax.pretrained {name} --out DIR --heads N"
        )
    if options.heads and options.heads != heads:
        raise ConfigError(f"`heads` is {options.heads}, and {CONFIG_LABEL} of {name} says {heads}")
    if stated and width % stated:
        field = said.spelled("num_attention_heads")
        raise contradiction(source, f"{field} = {stated}, which does not divide the width {width} of the tensors")
    if width % heads:
        raise ConfigError(f"{heads} heads do not divide the width {width} of {name}")
    return heads
