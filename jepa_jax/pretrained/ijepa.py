"""I-JEPA.

Source: Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture",
arXiv 2301.08243. The embedding is the mean over the patches after the last layer norm.
"""

import math

import numpy as np

from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.images.timm import IMAGENET_STATISTICS
from jepa_jax.models.transformer import sincos_positions
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
from jepa_jax.pretrained.sizes import named_arch, native_size, pooling_of, resolve_heads, sizes

ORIGINAL_LAYOUT = Layout(
    name="Meta",
    mark=("pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
    without=("cls_token", "reg_token", "blocks.0.ls1.gamma"),
    # Meta's own code fails at another resolution, because it expects a class token.
    positions="bicubic",
    rules=META_RULES,
    ignored=(TIMM_CLASSIFIER,),
)

HUGGING_FACE_LAYOUT = Layout(
    name="Hugging Face",
    mark=("embeddings.position_embeddings", "encoder.layer.0.layernorm_before.weight"),
    without=("embeddings.cls_token",),
    positions="bicubic",
    rules=(*HUGGING_FACE_RULES, *HUGGING_FACE_BLOCK_RULES),
    ignored=(
        MASK_TOKEN,
        (r"pooler\.dense\.(weight|bias)", "a head that I-JEPA does not train"),
        CLASSIFIER,
    ),
)

ARCHS = {
    "vit_tiny": Arch(192, 12, 3),
    "vit_small": Arch(384, 12, 6),
    "vit_base": Arch(768, 12, 12),
    "vit_large": Arch(1024, 24, 16),
    "vit_huge": Arch(1280, 32, 16),
    "vit_giant": Arch(1408, 40, 16),
}


def configure(source: Source, options: Options) -> tuple[ViT, tuple[str, ...]]:
    """Return the network at its native resolution, and notes on what had to be assumed."""
    found = sizes(source)
    arch = named_arch(options, ARCHS, found, source.name)
    notes = ()
    if source.config is None and source.layout is not HUGGING_FACE_LAYOUT and are_learned(source):
        notes = (
            "no config file says what the model is, and its positions are not the fixed ones of I-JEPA: I-JEPA is "
            "assumed (SigLIP's towers with mean pooling have the same keys)",
        )
    if source.config is None and source.layout is HUGGING_FACE_LAYOUT:
        notes = (*notes, "there is no config.json: layer_norm_eps is assumed to be 1e-6, as in the released models")
    return ViT(
        image_size=native_size(source, found["patch_size"], False),
        heads=resolve_heads(source, options, arch, found["width"]),
        # In a config.json that leaves it out, the value is the default of the transformers class.
        norm_eps=epsilon(source.config, 1e-6 if source.config is None else 1e-12),
        mlp=activation(source.config, "gelu", {"gelu": "gelu", "quick_gelu": "quick_gelu"}),  # type: ignore[arg-type]
        qkv_bias=source.has("blocks/qkv/bias"),
        class_token=False,
        positions="sincos",
        pooling=pooling_of(source, False),
        **found,
    ), notes


def are_learned(source: Source) -> bool:
    """Return whether the positions of a file are other than the fixed ones with which I-JEPA trains."""
    shape = source.placed("positions")
    side = math.isqrt(shape[0])
    if side**2 != shape[0] or shape[1] % 4:
        return True
    key = next(rule.source for rule in source.layout.rules if rule.target == "positions")
    return not np.allclose(
        source.tensors[key].read().reshape(shape), sincos_positions((side, side), shape[1]), atol=1e-2
    )


def preprocessing(source: Source, native: int) -> Preprocessing:
    """Return the recipe: squashed to the native size with mean and deviation 1/2, or as in training at Meta.

    The former is that of Hugging Face; Meta trains on crops with the mean and the deviation of ImageNet.
    """
    if source.layout is HUGGING_FACE_LAYOUT:
        half = (0.5,) * 3
        return Preprocessing(
            (native, native), (native, native), "bilinear", half, half, source="Hugging Face's default for I-JEPA"
        )
    mean, std = IMAGENET_STATISTICS
    return Preprocessing(
        (native, native), round(native * 256 / 224), "bilinear", mean, std, source="Meta's statistics for I-JEPA"
    )


IJEPA = Family(
    name="ijepa",
    aliases=("i-jepa",),
    archs=ARCHS,
    layouts=(ORIGINAL_LAYOUT, HUGGING_FACE_LAYOUT),
    configure=configure,
    preprocessing=preprocessing,
    licence="The weights of I-JEPA were released under CC BY-NC 4.0: no commercial use.",
)
