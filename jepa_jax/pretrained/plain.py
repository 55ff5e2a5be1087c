"""Plain vision transformers in the layouts of timm and of transformers, such as DINO's and VISReg's.

Sources: Caron et al., "Emerging properties in self-supervised vision transformers", arXiv 2104.14294; Wu et al.,
"VISReg", arXiv 2606.02572; Wightman, "PyTorch image models". The embedding is the class token after the last layer
norm, or the mean of the patches where there is none or the config file says so.
"""

from dataclasses import replace
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.images.timm import IMAGENET_STATISTICS
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.family import (
    CLASSIFIER,
    HUGGING_FACE_BLOCK_RULES,
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
from jepa_jax.pretrained.fields import activation, epsilon
from jepa_jax.pretrained.reading import Weights
from jepa_jax.pretrained.sizes import named_arch, native_size, pooling_of, resolve_heads, sizes
from jepa_jax.pretrained.table import Rule, rows

PLAIN_RULES = (
    *META_RULES,
    Rule("cls_token", "class_token", rows),
    Rule("reg_token", "registers", rows),
    Rule("blocks.{i}.ls1.gamma", "blocks/scale1"),
    Rule("blocks.{i}.ls2.gamma", "blocks/scale2"),
)
TIMM_LAYOUT = Layout(
    name="timm",
    mark=("patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight"),
    positions="bicubic-antialias",
    rules=PLAIN_RULES,
    ignored=(MASK_TOKEN, TIMM_CLASSIFIER, (r"proj\.\d+\..*", "the projection head of VISReg's training")),
)
HUGGING_FACE_LAYOUT = Layout(
    name="Hugging Face",
    mark=("embeddings.cls_token", "embeddings.position_embeddings", "encoder.layer.0.layernorm_before.weight"),
    positions="bicubic",
    rules=(
        *HUGGING_FACE_RULES,
        Rule("embeddings.cls_token", "class_token", rows),
        *HUGGING_FACE_BLOCK_RULES,
    ),
    ignored=(MASK_TOKEN, (r"pooler\.dense\.(weight|bias)", "a head on top"), CLASSIFIER),
)

ARCHS = {
    "vit_tiny": Arch(192, 12, 3),
    "vit_small": Arch(384, 12, 6),
    "vit_base": Arch(768, 12, 12),
    "vit_large": Arch(1024, 24, 16),
    "vit_huge": Arch(1280, 32, 16),
}


def configure(source: Source, options: Options) -> tuple[ViT, tuple[str, ...]]:
    """Return the network at its native resolution, and notes on what had to be assumed."""
    found = sizes(source)
    return plain_network(source, options, named_arch(options, ARCHS, found, source.name), found)


def plain_network(
    source: Source, options: Options, arch: Arch | None, found: dict[str, Any]
) -> tuple[ViT, tuple[str, ...]]:
    """Return the network of a plain vision transformer, and notes on what had to be assumed.

    Args:
      source: File of weights.
      options: Options of the caller.
      arch: Published size, or None.
      found: Result of `sizes`.

    Raises:
      ConfigError: If it pools in another way than by its class token or the mean of its patches, or norms afterwards.
    """
    if key := next((key for key in source.tensors if "fc_norm." in key), None):
        raise ConfigError(f"{source.name} has its last norm after the pooling ({key}), which is not supported")
    class_token = source.has("class_token")
    notes = ()
    if source.config is None:
        notes = (
            "no config file says how the tokens are pooled, nor the epsilon of the norms: the "
            f"{'class token' if class_token else 'mean of the patches'} after the last norm is taken, with 1e-6",
        )
    act = activation(source.config, "gelu", {"gelu": "gelu", "quick_gelu": "quick_gelu"})
    swiglu = source.shape("blocks/fc1/kernel")[0] == 2 * found["hidden"]
    return ViT(
        image_size=native_size(source, found["patch_size"], class_token),
        heads=resolve_heads(source, options, arch, found["width"]),
        # In a config.json that leaves it out, the value is the default of the transformers class.
        norm_eps=epsilon(source.config, 1e-12 if source.description.origin == "transformers" else 1e-6),
        registers=source.shape("registers")[-2] if source.has("registers") else 0,
        layer_scale=source.has("blocks/scale1"),
        mlp="swiglu" if swiglu else act,  # type: ignore[arg-type]
        qkv_bias=source.has("blocks/qkv/bias"),
        patch_bias=source.has("patch/bias"),
        class_token=class_token,
        pooling=pooling_of(source, class_token),
        **found,
    ), notes


def preprocessing(source: Source, native: int) -> Preprocessing:
    """Return the recipe: resized to 256 and cropped to 224, or the same in proportion; of VISReg, resized to 224."""
    mean, std = IMAGENET_STATISTICS
    recipe = Preprocessing((224, 224), 256, "bicubic", mean, std, source="DINO's evaluation")
    if is_visreg(source):
        recipe = replace(recipe, resize=224, resample="bilinear", source="VISReg's evaluation")
    return recipe.at_size(native)


def is_dino(weights: Weights) -> bool:
    """Return whether a file without a config is one of Meta's of DINO, by its name or its two encoders."""
    groups = {group.partition(".")[0] for group in weights.groups}
    return weights.config is None and ("dino" in weights.name.lower() or {"student", "teacher"} <= groups)


def is_visreg(source: Source) -> bool:
    """Return whether a file is one of VISReg's, by its name or its projection head."""
    return "visreg" in source.name.lower() or any(key.startswith("proj.") for key in source.tensors)


PLAIN = Family(
    name="vit",
    aliases=("timm", "visreg"),
    archs=ARCHS,
    layouts=(TIMM_LAYOUT, HUGGING_FACE_LAYOUT),
    configure=configure,
    preprocessing=preprocessing,
    licence="The file does not state a licence; see where it comes from (VISReg's weights: CC BY-NC 4.0).",
)
