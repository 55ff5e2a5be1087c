"""Descriptions of families of weights, and the functions that their converters share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.description import Description
from jepa_jax.pretrained.positions import Resize
from jepa_jax.pretrained.reading import Tensor
from jepa_jax.pretrained.table import Rule, linear, norm, patches, rows

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
# Blocks of transformers' plain vision transformers, which DINOv2 names otherwise.
HUGGING_FACE_BLOCK_RULES = (
    *norm("encoder.layer.{i}.layernorm_before", "blocks/norm1"),
    *norm("encoder.layer.{i}.layernorm_after", "blocks/norm2"),
    *linear("encoder.layer.{i}.intermediate.dense", "blocks/fc1"),
    *linear("encoder.layer.{i}.output.dense", "blocks/fc2"),
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
      branch: Encoder to take from a file that holds several, such as `target` or `context` (I-JEPA), `teacher` or
        `student`, `ema` or `raw`, or a part of its name; None takes that which the origin of the file evaluates.
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
      without: Keys that a file of this layout does not contain.
      beside: Keys of rules that may lie beside the encoder, one module above its other keys.
    """

    name: str
    mark: tuple[str, ...]
    rules: tuple[Rule, ...]
    positions: Resize
    ignored: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """Name of the module that contains all keys of the rules, such as `visual`; "" if there is none."""
        shared = takewhile(
            lambda parts: len(set(parts)) == 1,
            zip(*(rule.source.split(".") for rule in self.rules), strict=False),
        )
        return ".".join(part for part, *_ in shared)

    def sources(self, target: str) -> tuple[str, ...]:
        """Return the keys, with `{i}` for the index of a block, that may fill the parameter `target`."""
        return tuple(rule.source for rule in self.rules if rule.target == target)


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
