"""DINOv2, with and without registers.

Sources: Oquab et al., arXiv 2304.07193, and Darcet et al., "Vision transformers need registers", arXiv 2309.16588. The
embedding is the class token after the last layer norm.
"""

from dataclasses import replace

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.images.timm import IMAGENET_STATISTICS
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.family import (
    CLASSIFIER,
    HUGGING_FACE_RULES,
    MASK_TOKEN,
    META_RULES,
    TIMM_CLASSIFIER,
    Arch,
    Family,
    Layout,
    Options,
    Source,
)
from jepa_jax.pretrained.fields import activation, configured, epsilon
from jepa_jax.pretrained.sizes import named_arch, native_size, pooling_of, resolve_heads, sizes
from jepa_jax.pretrained.table import Rule, linear, norm, rows

ORIGINAL_LAYOUT = Layout(
    name="Meta, no registers",
    mark=("cls_token", "pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma"),
    without=("register_tokens", "reg_token"),
    positions="bicubic-offset",
    rules=(
        *META_RULES,
        Rule("cls_token", "class_token", rows),
        *linear("blocks.{i}.mlp.w12", "blocks/fc1"),
        *linear("blocks.{i}.mlp.w3", "blocks/fc2"),
        Rule("blocks.{i}.ls1.gamma", "blocks/scale1"),
        Rule("blocks.{i}.ls2.gamma", "blocks/scale2"),
    ),
    ignored=(MASK_TOKEN, TIMM_CLASSIFIER),
)


def with_registers(layout: Layout, origin: str, key: str) -> Layout:
    """Return a layout for files that have registers, whose positions are interpolated in another way.

    Args:
      layout: Layout without registers.
      origin: Library that writes such files.
      key: Name of the registers in them.
    """
    rules = (*(rule for rule in layout.rules if rule.target != "registers"), Rule(key, "registers", rows))
    return replace(
        layout,
        name=f"{origin}, registers",
        mark=(*layout.mark, key),
        without=(),
        positions="bicubic-antialias",
        rules=rules,
    )


ORIGINAL_REGISTERS_LAYOUT = with_registers(ORIGINAL_LAYOUT, "Meta", "register_tokens")
TIMM_REGISTERS_LAYOUT = with_registers(ORIGINAL_LAYOUT, "timm", "reg_token")

HUGGING_FACE_LAYOUT = Layout(
    name="Hugging Face, no registers",
    mark=("embeddings.cls_token", "embeddings.position_embeddings", "encoder.layer.0.layer_scale1.lambda1"),
    without=("embeddings.register_tokens",),
    positions="bicubic",
    rules=(
        *HUGGING_FACE_RULES,
        Rule("embeddings.cls_token", "class_token", rows),
        *norm("encoder.layer.{i}.norm1", "blocks/norm1"),
        *norm("encoder.layer.{i}.norm2", "blocks/norm2"),
        *linear("encoder.layer.{i}.mlp.fc1", "blocks/fc1"),
        *linear("encoder.layer.{i}.mlp.fc2", "blocks/fc2"),
        *linear("encoder.layer.{i}.mlp.weights_in", "blocks/fc1"),
        *linear("encoder.layer.{i}.mlp.weights_out", "blocks/fc2"),
        Rule("encoder.layer.{i}.layer_scale1.lambda1", "blocks/scale1"),
        Rule("encoder.layer.{i}.layer_scale2.lambda1", "blocks/scale2"),
    ),
    ignored=(MASK_TOKEN, CLASSIFIER),
)
HUGGING_FACE_REGISTERS_LAYOUT = with_registers(HUGGING_FACE_LAYOUT, "Hugging Face", "embeddings.register_tokens")

ARCHS = {
    "vits14": Arch(384, 12, 6),
    "vitb14": Arch(768, 12, 12),
    "vitl14": Arch(1024, 24, 16),
    "vitg14": Arch(1536, 40, 24),
}


RELEASED_IMAGE_SIZE = 518  # pixels, the native resolution of the positions in every released model


def configure(source: Source, options: Options) -> tuple[ViT, tuple[str, ...]]:
    """Return the network at its native resolution, and notes on what had to be assumed."""
    found = sizes(source)
    arch = named_arch(options, ARCHS, found, source.name)
    act = activation(source.config, "gelu", {"gelu": "gelu"})
    if found["hidden"] and source.shape("blocks/fc1/kernel")[0] == 2 * found["hidden"]:
        act = "swiglu"
    if configured(source.config, "apply_layernorm", True, bool) is False:
        raise ConfigError(f"{source.name} has apply_layernorm = false; only class tokens after the norm are supported")
    return ViT(
        image_size=native_size(source, found["patch_size"], True),
        heads=resolve_heads(source, options, arch, found["width"]),
        norm_eps=epsilon(source.config, 1e-6),
        registers=source.shape("registers")[-2] if source.has("registers") else 0,
        layer_scale=True,
        pooling=pooling_of(source, True),
        mlp=act,  # type: ignore[arg-type]
        qkv_bias=source.has("blocks/qkv/bias"),
        **found,
    ), ()


def preprocessing(source: Source, native: int) -> Preprocessing:
    """Return the recipe: shortest side 256, centre crop 224, or the same in proportion.

    The released models have positions for 518 pixels and are evaluated at 224; another model is used at its native
    resolution.
    """
    mean, std = IMAGENET_STATISTICS
    recipe = Preprocessing((224, 224), 256, "bicubic", mean, std, source="DINOv2's evaluation")
    return recipe if native == RELEASED_IMAGE_SIZE else recipe.at_size(native)


DINOV2 = Family(
    name="dinov2",
    aliases=("dino", "dinov2_with_registers"),
    archs=ARCHS,
    layouts=(
        ORIGINAL_LAYOUT,
        ORIGINAL_REGISTERS_LAYOUT,
        TIMM_REGISTERS_LAYOUT,
        HUGGING_FACE_LAYOUT,
        HUGGING_FACE_REGISTERS_LAYOUT,
    ),
    configure=configure,
    preprocessing=preprocessing,
    licence="The weights of DINOv2 were released under Apache-2.0.",
)
