"""Image tower of MetaCLIP and of CLIP in general.

Sources: Radford et al., arXiv 2103.00020, and Xu et al., "Demystifying CLIP data", arXiv 2309.16671. The embedding is
the projected class token, not normalised.
"""

import re
from dataclasses import replace
from typing import Any

from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.images.timm import CLIP_STATISTICS
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.family import Arch, Family, Layout, Options, Source
from jepa_jax.pretrained.fields import activation, epsilon
from jepa_jax.pretrained.plain import PLAIN_RULES, plain_network
from jepa_jax.pretrained.sizes import named_arch, native_size, resolve_heads, sizes
from jepa_jax.pretrained.table import Rule, linear, norm, patches, rows, transposed

TIMM_TRUNK = "visual.trunk."  # prefix of a tower of timm
TIMM_PROJECTION = "visual.head.proj.weight"
TEXT_TOWER_REASON = "the text tower"

ORIGINAL_LAYOUT = Layout(
    name="open_clip",
    mark=("visual.class_embedding", "visual.conv1.weight", "visual.transformer.resblocks.0.attn.in_proj_weight"),
    positions="bicubic-antialias",
    rules=(
        Rule("visual.conv1.weight", "patch/kernel", patches),
        Rule("visual.class_embedding", "class_token", rows),
        Rule("visual.positional_embedding", "positions"),
        *norm("visual.ln_pre", "pre_norm"),
        *norm("visual.transformer.resblocks.{i}.ln_1", "blocks/norm1"),
        Rule("visual.transformer.resblocks.{i}.attn.in_proj_weight", "blocks/qkv/kernel", transposed),
        Rule("visual.transformer.resblocks.{i}.attn.in_proj_bias", "blocks/qkv/bias"),
        *linear("visual.transformer.resblocks.{i}.attn.out_proj", "blocks/proj"),
        *norm("visual.transformer.resblocks.{i}.ln_2", "blocks/norm2"),
        *linear("visual.transformer.resblocks.{i}.mlp.c_fc", "blocks/fc1"),
        *linear("visual.transformer.resblocks.{i}.mlp.c_proj", "blocks/fc2"),
        *norm("visual.ln_post", "norm"),
        Rule("visual.proj", "projection/kernel"),
    ),
    ignored=(
        (
            r"(transformer|token_embedding|ln_final)\..*|positional_embedding|text_projection|attn_mask",
            TEXT_TOWER_REASON,
        ),
        (r"text\..*", TEXT_TOWER_REASON),
        (r"logit_scale|logit_bias", "a parameter of the contrastive loss"),
        (r"input_resolution|context_length|vocab_size", "sizes, which the shapes determine"),
    ),
)

# The same without the model around it, or in a model that calls it otherwise than `visual`.
TOWER_LAYOUT = replace(
    ORIGINAL_LAYOUT,
    name="open_clip, image tower",
    mark=tuple(key.removeprefix("visual.") for key in ORIGINAL_LAYOUT.mark),
    rules=tuple(replace(rule, source=rule.source.removeprefix("visual.")) for rule in ORIGINAL_LAYOUT.rules),
    ignored=(),
)

# The tower may be any vision transformer of timm. Its keys keep their prefix, below which other layouts match too.
TIMM_TOWER_LAYOUT = Layout(
    name="open_clip, tower of timm",
    mark=(f"{TIMM_TRUNK}patch_embed.proj.weight", f"{TIMM_TRUNK}pos_embed", f"{TIMM_TRUNK}blocks.0.attn.qkv.weight"),
    positions="bicubic-antialias",
    rules=(
        *(replace(rule, source=f"{TIMM_TRUNK}{rule.source}") for rule in PLAIN_RULES),
        Rule(TIMM_PROJECTION, "projection/kernel", transposed),
    ),
    ignored=(
        *ORIGINAL_LAYOUT.ignored,
        (rf"{re.escape(TIMM_TRUNK)}head\.(weight|bias)", "a classifier on top"),
    ),
)

# The same in a model that calls the tower otherwise than `visual`; its projection tells it from timm's network alone.
TIMM_TRUNK_LAYOUT = replace(
    TIMM_TOWER_LAYOUT,
    name="open_clip, tower of timm by another name",
    mark=tuple(key.removeprefix("visual.") for key in (*TIMM_TOWER_LAYOUT.mark, TIMM_PROJECTION)),
    rules=tuple(replace(rule, source=rule.source.removeprefix("visual.")) for rule in TIMM_TOWER_LAYOUT.rules),
    ignored=(*ORIGINAL_LAYOUT.ignored, (r"trunk\.head\.(weight|bias)", "a classifier on top")),
)

HUGGING_FACE_LAYOUT = Layout(
    name="Hugging Face",
    mark=("embeddings.class_embedding", "embeddings.patch_embedding.weight", "pre_layrnorm.weight"),
    beside=("visual_projection.weight",),
    positions="bicubic",
    rules=(
        Rule("embeddings.patch_embedding.weight", "patch/kernel", patches),
        Rule("embeddings.class_embedding", "class_token", rows),
        Rule("embeddings.position_embedding.weight", "positions"),
        *norm("pre_layrnorm", "pre_norm"),
        *norm("encoder.layers.{i}.layer_norm1", "blocks/norm1"),
        *linear("encoder.layers.{i}.self_attn.q_proj", "blocks/qkv", (0, 3)),
        *linear("encoder.layers.{i}.self_attn.k_proj", "blocks/qkv", (1, 3)),
        *linear("encoder.layers.{i}.self_attn.v_proj", "blocks/qkv", (2, 3)),
        *linear("encoder.layers.{i}.self_attn.out_proj", "blocks/proj"),
        *norm("encoder.layers.{i}.layer_norm2", "blocks/norm2"),
        *linear("encoder.layers.{i}.mlp.fc1", "blocks/fc1"),
        *linear("encoder.layers.{i}.mlp.fc2", "blocks/fc2"),
        *norm("post_layernorm", "norm"),
        Rule("visual_projection.weight", "projection/kernel", transposed),
    ),
    ignored=(
        (r"text_model\..*|text_projection\.weight", TEXT_TOWER_REASON),
        (r"logit_scale|logit_bias", "a parameter of the contrastive loss"),
        (r"embeddings\.position_ids", "the constant indices 0, 1, 2, ..."),
        (r"classifier\.(weight|bias)", "a classifier on top"),
    ),
)

# Width, depth and heads.
BASE_SIZE, LARGE_SIZE, HUGE_SIZE, BIG_G_SIZE = (768, 12, 12), (1024, 24, 16), (1280, 32, 16), (1664, 48, 16)
ARCHS = {
    "b32": Arch(*BASE_SIZE, 32, quick=True),
    "b16": Arch(*BASE_SIZE, 16, quick=True),
    "l14": Arch(*LARGE_SIZE, 14, quick=True),
    "h14": Arch(*HUGE_SIZE, 14, quick=True),
    "G14": Arch(*BIG_G_SIZE, 14, quick=True),
    "h14_v1.2_altogether": Arch(*HUGE_SIZE, 14, quick=False),
    # Names of open_clip, where only the names with "quickgelu" stand for the approximate GELU.
    "ViT-B-32-quickgelu": Arch(*BASE_SIZE, 32, quick=True),
    "ViT-B-16-quickgelu": Arch(*BASE_SIZE, 16, quick=True),
    "ViT-L-14-quickgelu": Arch(*LARGE_SIZE, 14, quick=True),
    "ViT-H-14-quickgelu": Arch(*HUGE_SIZE, 14, quick=True),
    "ViT-B-32": Arch(*BASE_SIZE, 32, quick=False),
    "ViT-B-16": Arch(*BASE_SIZE, 16, quick=False),
    "ViT-L-14": Arch(*LARGE_SIZE, 14, quick=False),
    "ViT-H-14": Arch(*HUGE_SIZE, 14, quick=False),
    "ViT-bigG-14-quickgelu": Arch(*BIG_G_SIZE, 14, quick=True),
    "ViT-bigG-14": Arch(*BIG_G_SIZE, 14, quick=False),
}
GELU_FILE_MARKS = ("altogether",)  # part of the name of an original file whose network has the exact GELU


def configure(source: Source, options: Options) -> tuple[ViT, tuple[str, ...]]:
    """Return the network at its native resolution, and notes on what had to be assumed."""
    found = sizes(source)
    arch = named_arch(options, ARCHS, found, source.name)
    if source.layout.name in (TIMM_TOWER_LAYOUT.name, TIMM_TRUNK_LAYOUT.name):
        return timm_tower(source, options, arch, found)
    act, notes = mlp(source, options, arch)
    projection = None
    if source.has("projection/kernel"):
        projection = source.placed("projection/kernel")[1]
    else:
        notes = (*notes, "there is no projection: the embedding is the class token after the last norm")
    return ViT(
        image_size=native_size(source, found["patch_size"], True),
        heads=resolve_heads(source, options, arch, found["width"]),
        norm_eps=epsilon(source.config, 1e-5),
        mlp=act,  # type: ignore[arg-type]
        patch_bias=False,
        pre_norm=True,
        projection=projection,
        **found,
    ), notes


def timm_tower(
    source: Source, options: Options, arch: Arch | None, found: dict[str, Any]
) -> tuple[ViT, tuple[str, ...]]:
    """Return the network of a vision transformer of timm with the projection of open_clip, and notes.

    Raises:
      ConfigError: If the tower pools in another way than by its class token or the mean of its patches.
    """
    network, notes = plain_network(source, options, arch, found)
    if source.has("projection/kernel"):
        return replace(network, projection=source.placed("projection/kernel")[1]), notes
    return network, (*notes, "there is no projection: the embedding is the pooled token after the last norm")


def mlp(source: Source, options: Options, arch: Arch | None) -> tuple[str, tuple[str, ...]]:
    """Return the activation, and a note if it had to be assumed, because a file of weights does not contain it."""
    names = {"quick_gelu": "quick_gelu", "gelu": "gelu"}
    if source.config is not None:
        return activation(source.config, "quick_gelu", names), ()
    if options.arch and arch and arch.quick is not None:
        return ("quick_gelu" if arch.quick else "gelu"), ()
    if any(part in source.name.lower() for part in GELU_FILE_MARKS):
        return "gelu", ()
    return "quick_gelu", (
        "the file does not specify its activation: quick_gelu is assumed, as in MetaCLIP (`arch` sets it)",
    )


def preprocessing(source: Source, native: int) -> Preprocessing:
    """Return the recipe: shortest side and centre crop at the native size."""
    mean, std = CLIP_STATISTICS
    return Preprocessing((native, native), native, "bicubic", mean, std, source="CLIP's evaluation")


METACLIP = Family(
    name="metaclip",
    aliases=("clip", "open_clip", "metaclip2"),
    archs=ARCHS,
    layouts=(ORIGINAL_LAYOUT, TOWER_LAYOUT, TIMM_TOWER_LAYOUT, TIMM_TRUNK_LAYOUT, HUGGING_FACE_LAYOUT),
    configure=configure,
    preprocessing=preprocessing,
    licence="The weights of MetaCLIP were released under CC BY-NC 4.0: no commercial use. Those of other CLIPs differ.",
)
