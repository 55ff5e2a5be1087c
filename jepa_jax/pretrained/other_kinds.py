"""Models that are not read: they are recognised by their config file or their keys, and refused by name."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.description import TIMM_NAME, Description
from jepa_jax.pretrained.reading import Tensor, Weights, read_json
from jepa_jax.pretrained.tensor import printable
from jepa_jax.pretrained.towers import Tower, below_place, entries_of

READ = "image encoders of I-JEPA, DINOv2, CLIP and plain vision transformers are"
MODEL_TYPES = {  # of transformers -> family
    "ijepa": "ijepa",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
    "clip": "metaclip",
    "clip_vision_model": "metaclip",
    "metaclip_2": "metaclip",
    "metaclip_2_vision_model": "metaclip",
    "chinese_clip": "metaclip",
    "chinese_clip_vision_model": "metaclip",
    "vit": "vit",
}
TIMM_IJEPA = ("vit_huge_patch14_gap_224", "vit_huge_patch16_gap_448", "vit_giant_patch16_gap_224")


# Part of the name of a model -> kind.
KINDS = {
    "siglip": "SigLIP",
    "dinov3": "DINOv3",
    "vjepa": "V-JEPA",
    "mae": "MAE",
    "beit": "BEiT",
    "data2vec": "data2vec",
    "swin": "Swin",
    "convnext": "ConvNeXt",
    "resnet": "ResNet",
    "eva": "EVA",
    "_clip": "CLIP in timm's form",
}
# Part of a key, as a regular expression, -> kind.
KEYS = {
    r"storage_tokens|rope_embed\.|qkv\.bias_mask": "DINOv3",  # in Meta's names, and in those of transformers
    r"(^|\.)embeddings\.patch_embeddings\.weight$|^(model\.)?layer\.\d+\.attention\.q_proj\.": "DINOv3",
    r"attn_pool\.|vision_model\.head\.probe|^head\.probe": "a tower with attention pooling, as SigLIP's are",
    r"(^|\.)decoder_(embed|blocks|pos_embed|pred)\b": "MAE",
    r"relative_position_(bias_table|index)": "BEiT or Swin",
}
DECODER = re.compile(r"(decoder\.)?decoder_(embed|blocks|pos_embed|pred)\b.*")  # of MAE, beside its encoder
ADAPTER_KEY = re.compile(r"(^|\.)lora_[AB]\.")
KERNELS = ("patch_embed.proj.weight", "patch_embeddings.projection.weight", "patch_embeddings.proj.weight")


def family_of(description: Description) -> str | None:
    """Return the family that a description names, or None.

    Raises:
      ConfigError: If the description names a model that is not read.
    """
    model, file = description.model, description.file
    match description.origin:
        case "transformers":
            if model not in MODEL_TYPES:
                raise refusal(f"{file} describes {_called(model)}", file)
            return MODEL_TYPES[model]
        case "timm":
            match = TIMM_NAME.fullmatch(model)
            if match is None or description.tag.startswith("mae"):
                raise refusal(f"{file} describes {_called(f'{model}.{description.tag}' if match else model)}", file)
            if "ijepa" in description.tag or model in TIMM_IJEPA:
                return "ijepa"
            return "dinov2" if "dinov2" in match["rest"] else "vit"
        case "open_clip":
            if model and TIMM_NAME.fullmatch(model) is None:
                raise refusal(f"{file} describes an image tower of timm, {_called(model)}", file)
            return "metaclip"
    return None


def refuse(weights: Weights) -> None:
    """Raise an error if a file without an encoder that is read holds a model of a known other kind.

    Raises:
      ConfigError: Then; the message names the kind.
    """
    name = weights.name
    entries = entries_of(weights)
    tensors = {key: entry.tensor for key, entry in entries.items()}
    _refuse_keys(tensors, weights)
    for key in tensors:
        if key.endswith("embeddings.patch_embedding.bias") and _beside(key, 2, "class_embedding") not in tensors:
            raise refusal(f"{name} holds SigLIP (its key {printable(key)}, and no class embedding)")
    if name.lower().startswith("mae_"):
        raise refusal(f"{name} holds MAE, by its name")
    for key in tensors:
        if key.endswith(KERNELS[0]) and _beside(key, 3, "pos_embed") not in tensors:
            raise refusal(f"{name} holds a model without position embeddings, such as DINOv3")
    if {entry.key for entry in entries.values()} <= {"weight", "bias"}:
        raise ConfigError(f"{name} holds one linear map, such as a head, and no encoder; name the file of the encoder")


def refuse_tower(tower: Tower, weights: Weights) -> None:
    """Raise an error if an encoder whose names are known belongs to a model of another kind.

    Only its own tensors count, and a decoder beside it: other models in the file say nothing about it.

    Args:
      tower: Encoder, without the heads of training.
      weights: The file.

    Raises:
      ConfigError: Then; the message names the kind.
    """
    name = weights.name
    _refuse_keys(tower.tensors, weights)
    around = tower.place.rpartition(".")[0]
    for key in entries_of(weights) if tower.place else ():
        if below_place(key, around) and DECODER.fullmatch(key[len(around) :].lstrip(".")):
            raise refusal(f"{name} holds MAE (its key {printable(key)})")
    # The names of the tensors in MAE's encoder are those of a plain one.
    if name.lower().startswith("mae_") and tower.family.name == "vit":
        raise refusal(f"{name} holds MAE, by its name")


def adapter_note(tower: Tower, weights: Weights) -> tuple[str, ...]:
    """Return a note on an adapter in the file that belongs to another module than the encoder, or ()."""
    own = set(tower.names.values())
    key = next((key for key in entries_of(weights) if key not in own and ADAPTER_KEY.search(key)), None)
    if key is None:
        return ()
    return (f"the file also holds an adapter (LoRA) outside of the encoder, which is not applied: {printable(key)}",)


def _refuse_keys(tensors: Mapping[str, Tensor], weights: Weights) -> None:
    """Raise an error if some keys are those of a model that is not read, or a patch has more than two axes."""
    name = weights.name
    if any(ADAPTER_KEY.search(key) for key in tensors):
        raise _adapter(weights.files[0].parent, name)
    for expression, kind in KEYS.items():
        if key := next(filter(re.compile(expression).search, tensors), None):
            raise refusal(f"{name} holds {kind} (its key {printable(key)})")
    for key, tensor in tensors.items():
        if key.endswith(KERNELS):
            _check_kernel(name, key, tensor)


def _beside(key: str, up: int, sibling: str) -> str:
    """Return the full name of a tensor in the module that lies `up` names above the end of a key."""
    return ".".join([*key.split(".")[:-up], sibling])


def refuse_adapter(path: Path) -> None:
    """Raise an error if a path leads to an adapter alone, which changes the weights of another model.

    Raises:
      ConfigError: Then.
    """
    # Unlike Path.is_dir, False for a name that is too long or denied, which the reader of the weights explains.
    alone = os.path.isdir(path) and any(path.glob("adapter_model.*")) and not any(path.glob("model*.safetensors"))
    if alone and (path / "adapter_config.json").is_file():
        raise _adapter(path, path.name)


def refusal(reason: str, file: str | None = None) -> ConfigError:
    """Return the error for a model that is not read, by a config file or by the weights themselves."""
    mend = f"; if the weights are of another model, move {file} away" if file else ""
    return ConfigError(f"{reason}, which is not read; {READ}{mend}")


def _adapter(folder: Path, name: str) -> ConfigError:
    base: Any = (read_json(folder / "adapter_config.json") or {}).get("base_model_name_or_path")
    whole = f" {base}" if isinstance(base, str) else " its base model"
    return ConfigError(
        f"{name} is an adapter (LoRA) and no whole model; merge it into{whole} (merge_and_unload() of peft), "
        "save_pretrained() the result and name that"
    )


def _check_kernel(name: str, key: str, tensor: Tensor) -> None:
    if len(tensor.shape) == 5:
        raise refusal(
            f"{name} holds a video model such as V-JEPA (its patches have {len(tensor.shape) - 2} axes: "
            f"{printable(key)} is {list(tensor.shape)})"
        )


def _called(model: str) -> str:
    """Return the name of a model with that of its kind."""
    kind = next((kind for part, kind in KINDS.items() if part in model.lower()), None)
    return f"{model!r} ({kind})" if kind else repr(model)
