"""Descriptions of families of weights, and the functions that their converters share."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.description import Description
from jepa_jax.pretrained.positions import Resize
from jepa_jax.pretrained.reading import Tensor
from jepa_jax.pretrained.table import Rule, below_zeros, linear, norm, patches, rows

CONFIG_LABEL = "the config file"  # subject of error messages

# Rules that I-JEPA and DINOv2 have in common, with the names in Meta's code and in Hugging Face's.
META_RULES = (
    Rule("patch_embed.proj.weight", "patch/kernel", patches),
    Rule("patch_embed.proj.bias", "patch/bias"),
    Rule("pos_embed", "positions", rows),
    *norm("blocks.{i}.norm1", "blocks/norm1"),
    *linear("blocks.{i}.attn.qkv", "blocks/qkv"),
    *linear("blocks.{i}.attn.proj", "blocks/proj"),
    *norm("blocks.{i}.norm2", "blocks/norm2"),
    *linear("blocks.{i}.mlp.fc1", "blocks/fc1"),
    *linear("blocks.{i}.mlp.fc2", "blocks/fc2"),
    *norm("norm", "norm"),
)
HUGGING_FACE_RULES = (
    Rule("embeddings.patch_embeddings.projection.weight", "patch/kernel", patches),
    Rule("embeddings.patch_embeddings.projection.bias", "patch/bias"),
    Rule("embeddings.position_embeddings", "positions", rows),
    *linear("encoder.layer.{i}.attention.attention.query", "blocks/qkv", (0, 3)),
    *linear("encoder.layer.{i}.attention.attention.key", "blocks/qkv", (1, 3)),
    *linear("encoder.layer.{i}.attention.attention.value", "blocks/qkv", (2, 3)),
    *linear("encoder.layer.{i}.attention.output.dense", "blocks/proj"),
    *norm("layernorm", "norm"),
)
MASK_TOKEN = (r"(embeddings\.)?mask_token", "masks patches in training")
CLASSIFIER = (r"classifier\.(weight|bias)", "a classifier on top")
TIMM_CLASSIFIER = (r"head\.(weight|bias)", "a classifier on top")


@dataclass(frozen=True)
class Options:
    """Properties of a file that the caller specifies.

    None stands for the value in the file, or else for the default of the family.

    Attributes:
      family: Name of the family.
      arch: Name of a published size.
      heads: Number of attention heads.
      image_size: Side of the images to be scored, in pixels.
      branch: Encoder in an original I-JEPA checkpoint, `target` or `context`.
      positions: Interpolation of the position embeddings at another resolution.
    """

    family: str | None = None
    arch: str | None = None
    heads: int | None = None
    image_size: int | None = None
    branch: str | None = None
    positions: Resize | None = None


@dataclass(frozen=True)
class Arch:
    """Published size: the properties that the shapes do not determine, and the shapes by which it is recognised.

    Attributes:
      width: Width of a token, D.
      depth: Number of blocks.
      heads: Number of attention heads.
      patch: Side of a patch in pixels; None for any.
      quick: Whether the activation is quick_gelu rather than gelu; None if the family has only one activation.
    """

    width: int
    depth: int
    heads: int
    patch: int | None = None
    quick: bool | None = None


@dataclass(frozen=True)
class Layout:
    """Layout of the weights of a family: the names of the tensors in a file.

    Attributes:
      name: Name in words.
      mark: Keys that a file of this layout contains.
      rules: Table from keys to parameters.
      positions: Interpolation by which the original code brings position embeddings to another resolution.
      ignored: Regular expressions of keys that are left out, each with the reason.
      prefixes: Prefixes that the keys of the encoder may have.
      without: Keys that a file of this layout does not contain.
    """

    name: str
    mark: tuple[str, ...]
    rules: tuple[Rule, ...]
    positions: Resize
    ignored: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[str, ...] = ("",)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """File of weights whose layout is known.

    Attributes:
      layout: Layout of the file.
      tensors: Tensors by the keys of the layout, without prefixes.
      description: Description of the network by the config file beside it.
      name: Name of the file or folder.
    """

    layout: Layout
    tensors: Mapping[str, Tensor]
    description: Description
    name: str

    @property
    def config(self) -> Mapping[str, Any] | None:
        """Fields of the config file, with the names of transformers, or None if there is no file."""
        return None if self.description.file is None else self.description.fields

    def shape(self, target: str) -> tuple[int, ...]:
        """Return the shape of the tensor that fills the parameter `target`.

        Raises:
          ConfigError: If the file has no such tensor.
        """
        for rule in self.layout.rules:
            key = rule.source.replace("{i}", "0")
            if rule.target == target and key in self.tensors:
                return self.tensors[key].shape
        sources = [rule.source for rule in self.layout.rules if rule.target == target]
        raise ConfigError(f"{self.name} has no {' or '.join(sources)}; the file is incomplete")

    def placed(self, target: str) -> tuple[int, ...]:
        """Return the shape in which that tensor fills the parameter."""
        shape = self.shape(target)
        rule = next(rule for rule in self.layout.rules if rule.target == target)
        return rule.how(np.broadcast_to(np.uint8(0), shape)).shape

    @property
    def depth(self) -> int:
        """Number of blocks: one more than the highest index of a block."""
        source = next(r.source for r in self.layout.rules if r.target == "blocks/norm1/scale")
        before, after = source.split("{i}")
        numbers = [
            int(key[len(before) : -len(after)])
            for key in self.tensors
            if key.startswith(before) and key.endswith(after) and key[len(before) : -len(after)].isdigit()
        ]
        return max(numbers, default=-1) + 1

    def has(self, target: str) -> bool:
        """Return whether the file has a tensor that fills the parameter `target`."""
        return any(
            rule.source.replace("{i}", "0") in self.tensors for rule in self.layout.rules if rule.target == target
        )


@dataclass(frozen=True)
class Family:
    """Family of weights.

    Attributes:
      name: Common name.
      aliases: Other names.
      archs: Published sizes by name.
      layouts: Layouts in which the weights are distributed.
      configure: (source, options) -> the network at its native resolution, and notes on what had to be assumed.
      preprocessing: (source, shorter side of the native images) -> the recipe for RGB; used if no file beside the
        weights has one.
      licence: Note on the licence of the weights.
    """

    name: str
    aliases: tuple[str, ...]
    archs: dict[str, Arch]
    layouts: tuple[Layout, ...]
    configure: Callable[[Source, Options], tuple[ViT, tuple[str, ...]]]
    preprocessing: Callable[[Source, int], Preprocessing]
    licence: str


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
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if value is None:
        return None
    if len(sides) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        raise ConfigError(f"{said.file} has {said.spelled('image_size')} = {value!r}; it should be one or two sides")
    return sides


def contradiction(source: Source, what: str) -> ConfigError:
    """Return the error for a description that does not belong to the tensors."""
    file = source.description.file
    return ConfigError(
        f"{file} beside {source.name} describes another model: {what}; put the {file} of these weights there"
    )


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


def configured(config: Mapping[str, Any] | None, key: str, default: Any, kind: type) -> Any:
    """Return a field of a config file, or the default if the field or the file is missing.

    Args:
      config: Content of the config file, or None.
      key: Name of the field.
      default: Value if the field is missing or null.
      kind: Type of the value; a float may be written as an integer.

    Raises:
      ConfigError: If the value has another type.
    """
    value = default if config is None or config.get(key) is None else config[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{CONFIG_LABEL} has {key} = {value!r}, which is not of type {kind.__name__}")
    return value


def positive(config: Mapping[str, Any] | None, key: str) -> int | None:
    """Return a positive integer from a config file, or None if the field or the file is missing.

    Raises:
      ConfigError: If the value is anything else.
    """
    value = configured(config, key, None, int)
    if value is not None and value < 1:
        raise ConfigError(f"{CONFIG_LABEL} has {key} = {value}; it must be at least 1")
    return value


def activation(config: Mapping[str, Any] | None, default: str, names: dict[str, str]) -> str:
    """Return the activation of the MLPs that the config file names.

    Args:
      config: Content of the config file, or None.
      default: Name if the field or the file is missing.
      names: Name in the config file -> name in this library.

    Raises:
      ConfigError: If the activation is not supported.
    """
    value = configured(config, "hidden_act", default, str)
    if value not in names:
        raise ConfigError(f"{CONFIG_LABEL} has hidden_act = {value!r}; known: {', '.join(names)}")
    return names[value]
