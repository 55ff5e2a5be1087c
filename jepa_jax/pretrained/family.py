"""What every family of weights states about itself, and what its converter is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.positions import Resize
from jepa_jax.pretrained.reading import Tensor
from jepa_jax.pretrained.table import Rule, linear, norm, patches, rows

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of RGB in [0, 1]
BY_CONFIG = "the config file"

# What I-JEPA and DINOv2 have in common, in the names of Meta's code and of Hugging Face's.
META = (
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
HUGGING_FACE = (
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


@dataclass(frozen=True)
class Options:
    """What a caller says of a file. None: what the file says, or the family's custom.

    Attributes:
      family, arch: names.
      heads: of the attention.
      image_size: side of the images to be scored, in pixels.
      branch: `target` or `context`, of an original I-JEPA checkpoint.
      positions: how they are brought to another resolution.
    """

    family: str | None = None
    arch: str | None = None
    heads: int | None = None
    image_size: int | None = None
    branch: str | None = None
    positions: Resize | None = None


@dataclass(frozen=True)
class Arch:
    """A published size: what shapes cannot tell, and what tells it."""

    width: int
    depth: int
    heads: int
    patch: int | None = None
    quick: bool | None = None


@dataclass(frozen=True)
class Layout:
    """One way in which a family's weights are named.

    Attributes:
      name: in words.
      mark: keys that a file of this layout has.
      rules: the table.
      ignored: regular expressions of keys that are left out, each with the reason.
      prefixes: what may stand before the tower's keys.
      positions: how this origin brings positions to another resolution.
      without: keys that a file of this layout does not have.
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
    """A file whose layout is known.

    Attributes:
      layout: its layout.
      tensors: by the layout's keys, prefixes taken away.
      config, preprocessor: the JSON beside it, or None.
      name: of the file or folder.
    """

    layout: Layout
    tensors: Mapping[str, Tensor]
    config: dict[str, Any] | None
    preprocessor: dict[str, Any] | None
    name: str

    def shape(self, target: str) -> tuple[int, ...]:
        """The shape of the tensor that goes to this parameter.

        Raises:
          ConfigError: the file has none.
        """
        for rule in self.layout.rules:
            key = rule.source.replace("{i}", "0")
            if rule.target == target and key in self.tensors:
                return self.tensors[key].shape
        sources = [rule.source for rule in self.layout.rules if rule.target == target]
        raise ConfigError(f"{self.name} has no {' or '.join(sources)}; the file is not whole")

    @property
    def depth(self) -> int:
        """How many blocks there are: one more than the highest number."""
        source = next(r.source for r in self.layout.rules if r.target == "blocks/norm1/scale")
        before, after = source.split("{i}")
        numbers = [
            int(key[len(before) : -len(after)])
            for key in self.tensors
            if key.startswith(before) and key.endswith(after) and key[len(before) : -len(after)].isdigit()
        ]
        return max(numbers, default=-1) + 1

    def has(self, target: str) -> bool:
        """Whether a tensor goes to this parameter."""
        return any(
            rule.source.replace("{i}", "0") in self.tensors for rule in self.layout.rules if rule.target == target
        )


@dataclass(frozen=True)
class Family:
    """A family of weights.

    Attributes:
      name: as people call it; `aliases` are other names.
      archs: its published sizes.
      layouts: the ways in which its weights are named.
      configure: (source, options) -> the network at its native resolution, and notes on what had to be assumed.
      preprocessing: (source, native image size) -> the recipe; used where there is no preprocessor_config.json.
      licence: a note.
    """

    name: str
    aliases: tuple[str, ...]
    archs: dict[str, Arch]
    layouts: tuple[Layout, ...]
    configure: Callable[[Source, Options], tuple[ViT, tuple[str, ...]]]
    preprocessing: Callable[[Source, int], Preprocessing]
    licence: str


def sizes(source: Source) -> dict[str, Any]:
    """Width, depth, patch size, channels and hidden width, from the shapes.

    Raises:
      ConfigError: the shapes are not those of a vision transformer.
    """
    kernel = source.shape("patch/kernel")
    if len(kernel) != 4 or kernel[2] != kernel[3]:
        raise ConfigError(f"{source.name}: the patch embedding has shape {list(kernel)}, not [D, C, P, P]")
    if not source.depth:
        raise ConfigError(f"{source.name} has no blocks; the file is not whole")
    width, channels, patch, _ = kernel
    hidden = source.shape("blocks/fc2/kernel")[-1]
    return {"width": width, "depth": source.depth, "patch_size": patch, "channels": channels, "hidden": hidden}


def native_size(source: Source, patch: int, others: int) -> int:
    """Side in pixels of the images that the positions are for.

    Args:
      others: positions that are not patches'.

    Raises:
      ConfigError: they do not form a square.
    """
    count = source.shape("positions")[-2] - others
    side = round(max(count, 0) ** 0.5)
    if side < 1 or side**2 != count:
        raise ConfigError(f"{source.name}: {count} positions of patches do not form a square")
    return side * patch


def named_arch(options: Options, archs: dict[str, Arch], found: dict[str, Any], name: str) -> Arch | None:
    """The published size that the options name, or that the shapes are those of.

    Raises:
      ConfigError: an unknown name, or one whose sizes the file does not have.
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


def resolve_heads(options: Options, arch: Arch | None, configured: int | None, width: int, name: str) -> int:
    """The number of heads: what the config file says, the options, or the published size.

    Raises:
      ConfigError: nothing says it, two say different things, or it does not divide the width.
    """
    heads = configured or options.heads or (arch.heads if arch else None)
    if heads is None:
        raise ConfigError(
            f"{name} does not say how many attention heads it has, and its size (width {width}) is none that was "
            f"published: convert it with python -m jepa_jax.pretrained {name} --out DIR --heads N"
        )
    if options.heads and options.heads != heads:
        raise ConfigError(f"`heads` is {options.heads}, and {BY_CONFIG} of {name} says {heads}")
    if width % heads:
        raise ConfigError(f"{heads} heads do not divide the width {width} of {name}")
    return heads


def configured(config: dict[str, Any] | None, key: str, default: Any, kind: type) -> Any:
    """A field of a config file, or the default.

    Raises:
      ConfigError: it has another type.
    """
    value = default if config is None or config.get(key) is None else config[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{BY_CONFIG} has {key} = {value!r}, which is no {kind.__name__}")
    return value


def positive(config: dict[str, Any] | None, key: str) -> int | None:
    """A whole positive number of a config file, or None where it is not there.

    Raises:
      ConfigError: it is something else.
    """
    value = configured(config, key, None, int)
    if value is not None and value < 1:
        raise ConfigError(f"{BY_CONFIG} has {key} = {value}; it must be at least 1")
    return value


def activation(config: dict[str, Any] | None, default: str, names: dict[str, str]) -> str:
    """What the config file calls the MLP's activation, by our name.

    Raises:
      ConfigError: there is no such one here.
    """
    value = configured(config, "hidden_act", default, str)
    if value not in names:
        raise ConfigError(f"{BY_CONFIG} has hidden_act = {value!r}; known: {', '.join(names)}")
    return names[value]
