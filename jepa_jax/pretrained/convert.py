"""Conversion of a file of foreign weights to a network, its parameters and its preprocessing recipe."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.vit import ViT, vit_encoder
from jepa_jax.pretrained.clip import METACLIP
from jepa_jax.pretrained.comparison import compare
from jepa_jax.pretrained.description import describe
from jepa_jax.pretrained.dinov2 import DINOV2
from jepa_jax.pretrained.family import Family, Options, Source
from jepa_jax.pretrained.ijepa import IJEPA
from jepa_jax.pretrained.locate import locate
from jepa_jax.pretrained.other_kinds import family_of, refuse_adapter
from jepa_jax.pretrained.plain import PLAIN, is_dino
from jepa_jax.pretrained.positions import Resize, resize_positions
from jepa_jax.pretrained.reading import open_weights
from jepa_jax.pretrained.recipe import recipe_of
from jepa_jax.pretrained.sizes import class_position
from jepa_jax.pretrained.table import check, fill, match

FAMILIES = (IJEPA, DINOV2, METACLIP, PLAIN)


@dataclass(frozen=True)
class Converted:
    """Encoder that was trained elsewhere.

    Attributes:
      config: Config of the network, at the resolution that is scored.
      params: Parameters of the network: float32 NumPy arrays, read-only.
      preprocessing: Recipe that converts images to the input of the network; None if no picture has its channels.
      origin: Description of the source of the weights, as JSON.
    """

    config: ViT
    params: Any
    preprocessing: Preprocessing | None
    origin: dict[str, Any]

    @property
    def encoder(self) -> Encoder:
        """Encoder as a function of one image; on CPU it shares the memory of `params`."""
        params = jax.tree.map(lambda a: jax.device_put(a, may_alias=True), self.params)
        return vit_encoder(self.config, params, self.preprocessing, self.origin)


def convert(path: str | Path, options: Options | None = None) -> Converted:
    """Read foreign weights.

    Args:
      path: Hugging Face directory, or a file: `.safetensors`, `.pth`, `.pth.tar`, `.pt`, `.bin`.
      options: Properties that the file does not contain.

    Returns:
      The encoder at the resolution that is scored.

    Raises:
      ConfigError: If the file cannot be read, belongs to no known family or does not match its table, or if the options
        do not match the file.
    """
    options = options or Options()
    refuse_adapter(Path(path))
    weights = open_weights(path)
    said = describe(weights.config, weights.config_name)
    named = family_of(said)
    wanted = options.family or named
    try:
        found, beside = locate(weights, [_family(wanted)] if wanted else FAMILIES, options.branch)
    except ConfigError as error:
        raise ConfigError(f"{error}{f'; {said.file} describes {said.model!r}' if said.model else ''}") from None
    family, layout, tensors = found.tower.family, found.tower.layout, found.tower.tensors
    if said.origin == "timm":
        name = "timm, registers" if "reg_token" in tensors else "timm"
        layout = replace(layout, name=name, positions="bicubic-antialias")
    elif family is PLAIN and is_dino(weights):
        layout = replace(layout, name="Meta, DINO", positions="bicubic-offset")
    source = Source(class_position(layout, tensors, said), tensors, said, weights.name)
    try:
        native, notes = family.configure(source, options)
        compare(source, native)
        recipe, assumed = recipe_of(family, source, weights, native, options.image_size)
        height, width = recipe.size
        config = replace(native, image_size=height if height == width else (height, width))
    except ValueError as error:  # raised by ViT, with a message of one line
        raise error if isinstance(error, ConfigError) else ConfigError(f"{source.name}: {error}") from None
    kind = options.positions or layout.positions
    params, left_out = _params(source, native, config, kind)
    origin = {
        "family": family.name,
        "layout": layout.name,
        "arch": _arch_name(family, native, options),
        "branch": found.branch,
        "role": found.role,
        "prefix": found.tower.prefix,
        **_facts(native, config, kind),
        "notes": [*found.notes, *notes, *assumed, *_assumptions(source, native, config, kind, options)],
        "left_out": left_out | beside,
        "description": said.file,
        "licence": f"{said.file} states {said.licence}." if said.licence else family.licence,
    }
    return Converted(config, params, recipe if recipe.channels == config.channels else None, origin)


def _family(name: str) -> Family:
    names = {n: family for family in FAMILIES for n in (family.name, *family.aliases)}
    if name.lower() not in names:
        raise ConfigError(f"`family` is {name}{nearest(name, [family.name for family in FAMILIES])}")
    return names[name.lower()]


def _facts(native: ViT, config: ViT, kind: Resize) -> dict[str, Any]:
    """Return the properties of a network that its origin states, as JSON."""
    height, width, _ = native.shape
    return {
        "patch_size": native.patch_size,
        "heads": native.heads,
        "activation": native.mlp,
        "native_image_size": height if height == width else [height, width],
        "positions": kind if config.grid != native.grid else "as they are",
    }


def _assumptions(source: Source, native: ViT, config: ViT, kind: Resize, options: Options) -> list[str]:
    """Return notes on what neither the file nor the caller states."""
    notes = []
    if not options.heads and not (source.config or {}).get("num_attention_heads"):
        notes.append(f"the number of heads, {native.heads}, is assumed to be that of the published size")
    if config.grid != native.grid:
        by = "as `positions` asks" if options.positions else f"as {source.layout.name.partition(',')[0]} does"
        old, new = (f"{rows} x {columns}" for rows, columns in (native.grid, config.grid))
        notes.append(f"the positions are interpolated from {old} to {new} patches {by} ({kind})")
    return notes


def _params(source: Source, native: ViT, config: ViT, kind: Resize) -> tuple[Any, dict[str, str]]:
    """Return the parameters at the resolution of `config`, and the keys that were left out with the reasons."""
    abstract = jax.eval_shape(lambda: native.network.init(jax.random.key(0)))
    pieces, unknown, left_out = match(source.tensors, source.layout.rules, source.layout.ignored)
    try:
        check(pieces, unknown, abstract)
    except ConfigError as error:
        raise ConfigError(
            f"{source.name} does not match the layout {source.layout.name!r} of its family: {error}"
        ) from None
    params = fill(pieces, abstract)
    params["positions"] = resize_positions(params["positions"], int(config.class_token), native.grid, config.grid, kind)
    for leaf in jax.tree.leaves(params):
        leaf.flags.writeable = False
    return params, left_out


def _arch_name(family: Family, config: ViT, options: Options) -> str | None:
    """Return the published name of this size, or None."""
    if options.arch:
        return options.arch
    sizes = {
        name: (a.width, a.depth, a.heads) for name, a in family.archs.items() if a.patch in (None, config.patch_size)
    }
    return next((n for n, size in sizes.items() if size == (config.width, config.depth, config.heads)), None)
