"""Comparison of what a config file says of a network with the shapes of its tensors."""

from typing import Any

from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.description import Description
from jepa_jax.pretrained.family import Source
from jepa_jax.pretrained.sizes import contradiction

SAME = {  # field of transformers -> what the tensors determine
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "patch_size": "patch_size",
    "num_channels": "channels",
    "intermediate_size": "hidden",
    "num_register_tokens": "registers",
    "projection_dim": "projection",
    "qkv_bias": "qkv_bias",
    "class_token": "class_token",
    "use_swiglu_ffn": "swiglu",
}


def compare(source: Source, native: ViT) -> None:
    """Check that the description of the weights does not contradict their tensors.

    Args:
      source: File of weights with its description.
      native: Network whose sizes the tensors determined.

    Raises:
      ConfigError: If it does; the message lists the contradictions in one line, each with both sides.
    """
    said = source.description
    found = {property: getattr(native, property) for property in SAME.values() if property != "swiglu"}
    found |= {"swiglu": native.mlp == "swiglu", "hidden": native.network.body.inside}
    wrong = [
        f"{said.spelled(name)} = {said.fields[name]!r}, and the tensors have {found[property]}"
        for name, property in SAME.items()
        if None not in (said.fields.get(name), found[property]) and _value(said, name) != found[property]
    ]
    if (hidden := _hidden(said, native)) not in (None, found["hidden"]):
        ratio = f"{said.spelled('mlp_ratio')} = {said.fields['mlp_ratio']!r}"
        wrong.append(f"{ratio}, which is a hidden width of {hidden}, and the tensors have {found['hidden']}")
    if wrong:
        raise contradiction(source, "; ".join(wrong))


def _value(said: Description, name: str) -> Any:
    """Return a field, with a patch of two equal sides as one number."""
    value = said.fields[name]
    if name == "patch_size" and isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    return value


def _hidden(said: Description, native: ViT) -> int | None:
    """Return the hidden width of the MLPs that a ratio says, or None."""
    ratio = said.fields.get("mlp_ratio")
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or said.fields.get("intermediate_size"):
        return None
    hidden = int(native.width * ratio)
    if native.mlp != "swiglu":
        return hidden
    # timm counts both halves of SwiGLU; DINOv2 in transformers has 2/3 of the ratio, rounded up to a multiple of 8.
    return hidden // 2 if said.origin == "timm" else (hidden * 2 // 3 + 7) // 8 * 8
