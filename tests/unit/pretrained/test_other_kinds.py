"""Models that are not read are refused by their names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import Options, convert, open_weights
from tests.helpers import GOLDEN

KERNEL = np.zeros((8, 3, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("name", "keys", "config", "message"),
    [
        ("model", ["a.b"], {"model_type": "siglip"}, r"config.json describes 'siglip' \(SigLIP\), which is not read"),
        ("model", ["a.b"], {"model_type": "dinov3_vit"}, "DINOv3"),
        ("model", ["a.b"], {"model_type": "vjepa2"}, "V-JEPA"),
        ("model", ["a.b"], {"model_type": "vit_mae"}, "MAE"),
        ("model", ["a.b"], {"model_type": "moon"}, "describes 'moon', which is not read"),
        ("model", ["a.b"], {"architecture": "vit_so400m_patch14_siglip_gap_224", "num_features": 8}, "SigLIP"),
        ("model", ["a.b"], {"architecture": "vit_small_patch16_dinov3", "num_features": 8}, "DINOv3"),
        ("model", ["a.b"], {"architecture": "vit_base_patch16_clip_224", "num_features": 8}, "CLIP in timm's form"),
        ("model", ["a.b"], {"architecture": "vit_base_patch16_224.mae", "num_features": 8}, "MAE"),
        ("model", ["a.b"], {"architecture": "resnet50", "num_features": 8}, "ResNet"),
        ("model", ["a.b"], {"model_cfg": {"vision_cfg": {"timm_model_name": "eva02_base"}}}, "tower of timm, .*EVA"),
        ("model", ["storage_tokens", "rope_embed.periods"], None, "holds DINOv3"),
        ("model", ["blocks.0.attn.qkv.bias_mask"], None, "holds DINOv3"),
        ("model", ["layer.0.attention.q_proj.weight"], None, "holds DINOv3"),
        ("model", ["embeddings.patch_embeddings.weight"], None, "holds DINOv3"),
        ("model", ["patch_embed.proj.weight", "reg_token"], None, "without position embeddings, such as DINOv3"),
        ("model", ["visual.trunk.attn_pool.latent"], None, "attention pooling, as SigLIP's"),
        ("model", ["vision_model.embeddings.patch_embedding.bias"], None, "holds SigLIP"),
        ("model", ["decoder_embed.weight", "cls_token"], None, "holds MAE"),
        ("mae_pretrain_vit_base", ["cls_token"], None, "holds MAE, by its name"),
        ("model", ["x.lora_A.weight", "x.lora_B.weight"], None, r"adapter \(LoRA\).*merge it into its base model"),
        ("model", ["weight", "bias"], None, "one linear map, such as a head"),
    ],
)
def test_refused_by_name(name: str, keys: list[str], config: Any, message: str, tmp_path: Path) -> None:
    save_file({key: np.zeros(2, np.float32) for key in keys}, tmp_path / f"{name}.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=message) as caught:
        convert(tmp_path / f"{name}.safetensors")
    assert "\n" not in str(caught.value)


def test_a_video_model_is_known_by_its_kernels(tmp_path: Path) -> None:
    save_file({"encoder.patch_embed.proj.weight": KERNEL[:, :, None]}, tmp_path / "vjepa.safetensors")
    with pytest.raises(ConfigError, match=r"video model such as V-JEPA .*\[8, 3, 1, 4, 4\]"):
        convert(tmp_path / "vjepa.safetensors")


def test_a_folder_with_an_adapter_alone(tmp_path: Path) -> None:
    save_file({"x": KERNEL}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/dinov2"}))
    with pytest.raises(ConfigError, match="merge it into somebody/dinov2"):
        convert(tmp_path)


# Keys of other kinds in a file with an encoder that is read: what is decided by them, and what is said of them.
READABLE = {
    "heads of training": ("", ["dino_head.decoder_embed.weight", "projector.lora_A.weight"]),
    "another model": ("dino.", ["siglip.attn_pool.latent", "v3.rope_embed.periods", "v3.storage_tokens"]),
    "a model without positions": ("dino.", ["v3.patch_embed.proj.weight"]),
    "a text model": ("model.", ["text.layer.0.relative_position_index", "text.decoder_embed.weight"]),
    "a stray key": ("backbone.", ["relative_position_index"]),
}
NOT_READ = {
    "in the encoder": ("m.", ["m.relative_position_index"], "BEiT or Swin"),
    "an adapter in the encoder": ("", ["blocks.0.attn.qkv.lora_A.weight"], r"adapter \(LoRA\)"),
    "a decoder in it": ("", ["decoder_pred.weight"], "MAE"),
    "a decoder beside it": ("vit.", ["decoder.decoder_embed.weight"], "MAE"),
    "and below a prefix": ("net.encoder.", ["net.decoder_blocks.0.norm1.weight"], "MAE"),
    "pooling in it": ("visual.trunk.", ["visual.trunk.attn_pool.latent"], "attention pooling"),
}


def dino() -> dict[str, np.ndarray]:
    tensors = open_weights(GOLDEN / "dinov2_meta" / "dinov2_pretrain.pth").groups[""]
    return {key: np.array(tensor.read()) for key, tensor in tensors.items()}


def encoder_and(prefix: str, keys: list[str], path: Path) -> Path:
    """Write an encoder below a prefix, and other keys beside it."""
    tensors = dino()
    if "trunk" in prefix:
        tensors = {key: a for key, a in tensors.items() if ".ls" not in key}
    save_file({f"{prefix}{key}": a for key, a in tensors.items()} | dict.fromkeys(keys, np.zeros(2, np.float32)), path)
    return path


@pytest.mark.parametrize("case", READABLE)
def test_what_lies_beside_an_encoder_does_not_refuse_it(case: str, tmp_path: Path) -> None:
    found = convert(encoder_and(*READABLE[case], tmp_path / "m.safetensors"), Options(heads=2))
    np.testing.assert_array_equal(found.params["norm"]["bias"], dino()["norm.bias"])


@pytest.mark.parametrize("case", NOT_READ)
def test_what_belongs_to_an_encoder_refuses_it(case: str, tmp_path: Path) -> None:
    prefix, keys, message = NOT_READ[case]
    with pytest.raises(ConfigError, match=message):
        convert(encoder_and(prefix, keys, tmp_path / "m.safetensors"), Options(heads=2))


def test_an_adapter_of_another_module_is_said(tmp_path: Path) -> None:
    path = encoder_and("vision.", ["text.layers.0.q_proj.lora_A.weight"], tmp_path / "m.safetensors")
    notes = convert(path, Options(heads=2)).origin["notes"]
    assert any("adapter (LoRA) outside of the encoder, which is not applied" in note for note in notes)


def test_a_file_is_not_mae_by_its_name_if_its_keys_are_those_of_another(tmp_path: Path) -> None:
    assert convert(encoder_and("", [], tmp_path / "mae_or_dinov2.safetensors"), Options(heads=2))
    with pytest.raises(ConfigError, match="holds MAE, by its name"):
        convert(encoder_and("", [], tmp_path / "MAE_or_vit.safetensors"), Options(heads=2, family="vit"))
