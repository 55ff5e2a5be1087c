"""What lies beside weights about them: it is followed, and compared with the tensors."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import Converted, Options, convert, open_weights
from jepa_jax.pretrained.positions import resize_positions
from tests.helpers import GOLDEN
from tests.helpers.foreign import save_torch_zip

IMAGES = np.random.default_rng(16).standard_normal((2, 16, 16, 3), np.float32)  # of the golden embeddings z_16
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
TINY = {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 4}
PROCESSOR = {
    "do_resize": True, "size": {"height": 16, "width": 16}, "resample": 2, "do_center_crop": False,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
}  # fmt: skip


def changed(case: str, folder: Path, name: str, at: tuple[str, ...], change: dict[str, Any]) -> Path:
    """A copy of a golden directory with other fields in one of its JSON files."""
    shutil.copytree(GOLDEN / case, folder)
    tree = json.loads((folder / name).read_text())
    part = tree
    for key in at:
        part = part[key]
    part |= change
    (folder / name).write_text(json.dumps(tree))
    return folder


def tensors_of(case: str, group: str = "") -> dict[str, np.ndarray]:
    file = next(path for path in (GOLDEN / case).iterdir() if ".pth" in path.suffixes)
    tensors = open_weights(file).groups[group]
    return {key.removeprefix("module."): tensor.read() for key, tensor in tensors.items() if key != "mask_token"}


def timm_folder(folder: Path, tensors: dict[str, np.ndarray], name: str, data: dict, args: dict | None = None) -> Path:
    """A directory as timm uploads it."""
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    size = {"input_size": [3, 16, 16], "crop_pct": 1.0, "interpolation": "bicubic"}
    tree = {"architecture": name, "num_features": 16, "model_args": TINY | (args or {}), "pretrained_cfg": size | data}
    (folder / "config.json").write_text(json.dumps(tree))
    return folder


def without_gains(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network without layer scale: its gains multiplied into the maps before them."""
    plain = {key: value for key, value in tensors.items() if ".ls" not in key}
    for gain, linear in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
        for i in range(2):
            gamma = tensors[f"blocks.{i}.{gain}.gamma"]
            plain[f"blocks.{i}.{linear}.weight"] = plain[f"blocks.{i}.{linear}.weight"] * gamma[:, None]
            plain[f"blocks.{i}.{linear}.bias"] = plain[f"blocks.{i}.{linear}.bias"] * gamma
    return plain


def check_embeddings(converted: Converted, case: str, images: np.ndarray = IMAGES, name: str = "z_16") -> None:
    z = np.load(GOLDEN / case / "expected.npz")[name]
    np.testing.assert_allclose(jax.vmap(converted.encoder)(images), z, atol=1e-5 * np.abs(z).max())


# timm's directories.


def test_registers_of_timm(tmp_path: Path) -> None:
    """timm adds the position of the class token to it and drops that row: the same function."""
    tensors = tensors_of("dinov2_meta_registers")
    tensors["reg_token"] = tensors.pop("register_tokens")
    tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
    tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    folder = timm_folder(tmp_path / "m", tensors, "vit_small_patch14_reg4_dinov2.lvd142m", HALF, {"reg_tokens": 3})
    converted = convert(folder)
    check_embeddings(converted, "dinov2_meta_registers")
    larger = np.random.default_rng(24).standard_normal((2, 24, 24, 3), np.float32)
    check_embeddings(convert(folder, Options(image_size=24)), "dinov2_meta_registers", larger, "z_24")
    assert (converted.origin["layout"], converted.origin["description"]) == ("timm, registers", "config.json")
    assert converted.preprocessing is not None
    assert (converted.preprocessing.mean, converted.preprocessing.resize) == ((0.5,) * 3, 16)


def test_a_plain_network_of_timm_and_one_below_open_clip(tmp_path: Path) -> None:
    tensors = without_gains(tensors_of("dinov2_meta"))
    data = HALF | {"crop_mode": "squash", "license": "cc-by-nc-4.0"}
    converted = convert(timm_folder(tmp_path / "m", tensors, "vit_base_patch16_224.dino", data))
    check_embeddings(converted, "dinov2_meta")
    resized = resize_positions(tensors["pos_embed"][0], 1, (4, 4), (6, 6), "bicubic-antialias")
    np.testing.assert_array_equal(convert(tmp_path / "m", Options(image_size=24)).params["positions"], resized)
    assert (converted.origin["family"], converted.origin["licence"]) == ("vit", "config.json states cc-by-nc-4.0.")
    assert converted.preprocessing is not None
    assert converted.preprocessing.resize == (16, 16)
    tower = {f"visual.trunk.{key}": value for key, value in tensors.items()}
    tower["visual.head.proj.weight"] = np.eye(16, dtype=np.float32)
    save_file(tower, tmp_path / "open_clip_model.safetensors")
    config = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "image_size": 16}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 16, "vision_cfg": config}}))
    converted = convert(tmp_path / "open_clip_model.safetensors", Options(heads=2))
    check_embeddings(converted, "dinov2_meta")
    assert converted.origin["layout"] == "open_clip, tower of timm"


def test_dino_has_positions_as_its_own_code_resizes_them(tmp_path: Path) -> None:
    tensors = without_gains(tensors_of("dinov2_meta"))
    for name, kind in (("dino_vitbase16_pretrain.pth", "bicubic-offset"), ("visreg.pth", "bicubic-antialias")):
        save_torch_zip(tmp_path / name, tensors)
        converted = convert(tmp_path / name, Options(heads=2, image_size=24))
        resized = resize_positions(tensors["pos_embed"][0], 1, (4, 4), (6, 6), kind)
        np.testing.assert_array_equal(converted.params["positions"], resized)
        assert (converted.origin["family"], converted.origin["positions"]) == ("vit", kind)
        assert "no config file says how the tokens are pooled" in str(converted.origin["notes"])


def test_ijepa_of_timm(tmp_path: Path) -> None:
    tensors = tensors_of("ijepa_meta", "target_encoder")
    converted = convert(timm_folder(tmp_path / "m", tensors, "vit_huge_patch14_gap_224", {"tag": "in1k_ijepa"}))
    check_embeddings(converted, "ijepa_meta")
    assert converted.origin["family"] == "ijepa"
    save_file(tensors, tmp_path / "bare.safetensors")
    assert any("SigLIP" in note for note in convert(tmp_path / "bare.safetensors", Options(heads=2)).origin["notes"])


@pytest.mark.parametrize("size", [(8, 32), (32, 8)])
def test_positions_on_a_rectangle(size: tuple[int, int], tmp_path: Path) -> None:
    """16 positions are those of 4 x 4 patches, or of 2 x 8 if the description says so."""
    data = {"input_size": [3, *size], "crop_pct": 0.8}
    tensors = tensors_of("dinov2_meta")
    converted = convert(timm_folder(tmp_path / "m", tensors, "vit_small_patch14_dinov2", data))
    assert converted.config.image_size == size
    np.testing.assert_array_equal(converted.params["positions"], tensors["pos_embed"][0])
    assert converted.preprocessing is not None
    assert converted.preprocessing(np.zeros((30, 50), np.uint8)).shape == (*size, 3)
    assert converted.preprocessing.cover
    assert converted.config.pooling == "class"
    square = convert(tmp_path / "m", Options(image_size=16))
    assert (square.config.image_size, square.origin["native_image_size"]) == (16, list(size))


def test_a_recipe_that_is_no_square_sets_the_size_of_the_images(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "dinov2_hf", tmp_path / "m")
    recipe = PROCESSOR | {"size": {"height": 16, "width": 24}}
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(recipe))
    converted = convert(tmp_path / "m")
    assert (converted.config.image_size, converted.config.grid) == ((16, 24), (4, 6))
    assert "4 x 4 to 4 x 6" in converted.origin["notes"][-1]


# Image processors.


def test_the_processor_of_transformers_5(tmp_path: Path) -> None:
    """It is nested in the file of all processors, which is preferred."""
    shutil.copytree(GOLDEN / "clip_hf_full", tmp_path / "m")
    assert "CLIP's evaluation is assumed" in str(convert(tmp_path / "m").origin["notes"])
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"resample": 0}))
    nested = {"image_processor": PROCESSOR, "processor_class": "CLIPProcessor"}
    (tmp_path / "m" / "processor_config.json").write_text(json.dumps(nested))
    recipe = convert(tmp_path / "m").preprocessing
    assert recipe is not None
    assert (recipe.source, recipe.resample, recipe.mean) == ("processor_config.json", "bilinear", (0.5,) * 3)
    (tmp_path / "m" / "processor_config.json").write_text(json.dumps({"image_seq_length": 5}))
    recipe = convert(tmp_path / "m").preprocessing
    assert recipe is not None
    assert recipe.source == "preprocessor_config.json"
    (tmp_path / "m" / "processor_config.json").write_text(json.dumps({"image_processor": "CLIP"}))
    with pytest.raises(ConfigError, match="image_processor 'CLIP'"):
        convert(tmp_path / "m")


@pytest.mark.parametrize("channels", [1, 4])
def test_the_recipe_has_the_channels_of_the_network(channels: int, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "dinov2_hf", tmp_path / "m")
    from safetensors.numpy import load_file

    tensors = load_file(tmp_path / "m" / "model.safetensors")
    key = "embeddings.patch_embeddings.projection.weight"
    save_file(tensors | {key: np.ones((16, channels, 4, 4), np.float32)}, tmp_path / "m" / "model.safetensors")
    config = json.loads((tmp_path / "m" / "config.json").read_text()) | {"num_channels": channels}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assumed = convert(tmp_path / "m")
    said = PROCESSOR | {"image_mean": [0.5], "image_std": [0.25]}
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(said))
    converted = convert(tmp_path / "m")
    assert converted.config.channels == channels
    if channels == 4:
        assert converted.preprocessing is None
        assert "4 channels, and no picture has" in str(converted.origin["notes"])
        return
    assert assumed.preprocessing is not None
    assert converted.preprocessing is not None
    np.testing.assert_allclose(assumed.preprocessing.mean, np.mean([0.485, 0.456, 0.406]))
    assert (converted.preprocessing.mean, converted.preprocessing.std) == ((0.5,), (0.25,))
    assert converted.encoder.preprocess(np.zeros((20, 20, 3), np.uint8)).shape == (16, 16, 1)
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(ConfigError, match="image_mean of 3 channels, and the weights take images of 1"):
        convert(tmp_path / "m")


# Contradictions.

VISION, TOWER = ("vision_config",), ("model_cfg", "vision_cfg")


@pytest.mark.parametrize("case", ["dinov2_hf", "ijepa_hf", "clip_hf_full"])
@pytest.mark.parametrize("value", [0.0, -1e-6, float("inf")])
def test_an_epsilon_is_positive(case: str, value: float, tmp_path: Path) -> None:
    at = VISION if case == "clip_hf_full" else ()
    folder = changed(case, tmp_path / "m", "config.json", at, {"layer_norm_eps": value})
    with pytest.raises(ConfigError, match=rf"layer_norm_eps = {value}; it must be positive and finite"):
        convert(folder)


@pytest.mark.parametrize(
    ("case", "at", "change", "message"),
    [
        ("dinov2_hf", (), {"hidden_size": 384}, "hidden_size = 384, and the tensors have 16"),
        ("dinov2_hf", (), {"num_hidden_layers": 1}, "num_hidden_layers = 1, and the tensors have 2"),
        ("dinov2_hf", (), {"num_hidden_layers": 12}, "num_hidden_layers = 12, and the tensors have 2"),
        ("dinov2_hf", (), {"num_attention_heads": 3}, "num_attention_heads = 3, which does not divide the width 16"),
        ("dinov2_hf", (), {"image_size": 224}, "image_size = 224, which is 56 x 56 patches of 4 pixels, and .* 16 pos"),
        ("dinov2_hf", (), {"patch_size": 14}, "patch_size = 14, and the tensors have 4"),
        ("dinov2_hf", (), {"mlp_ratio": 2}, "mlp_ratio = 2, which is a hidden width of 32, and the tensors have 64"),
        ("dinov2_hf", (), {"num_channels": 1}, "num_channels = 1, and the tensors have 3"),
        ("dinov2_hf", (), {"model_type": "dinov2_with_registers"}, "num_register_tokens = 4, and the tensors have 0"),
        ("dinov2_hf", (), {"num_channels": 1, "qkv_bias": False}, "num_channels = 1.*; qkv_bias = False"),
        ("dinov2_hf", (), {"use_swiglu_ffn": True}, "use_swiglu_ffn = True"),
        ("dinov2_hf", (), {"model_type": "ijepa"}, "holds no ijepa image encoder.*config.json describes 'ijepa'"),
        ("dinov2_hf_registers", (), {"num_register_tokens": 4}, "num_register_tokens = 4, and the tensors have 3"),
        ("ijepa_hf", (), {"intermediate_size": 128}, "intermediate_size = 128, and the tensors have 64"),
        ("clip_hf_full", VISION, {"hidden_size": 768}, "hidden_size = 768"),
        ("clip_hf_full", (), {"projection_dim": 512}, "projection_dim = 512, and the tensors have 10"),
        ("open_clip", TOWER, {"width": 32}, "vision_cfg.width = 32, and the tensors have 16"),
        ("open_clip", TOWER, {"layers": 3}, "vision_cfg.layers = 3"),
        ("open_clip", TOWER, {"head_width": 5}, "vision_cfg.head_width = 5, which does not divide its width 16"),
        ("open_clip", TOWER, {"image_size": 32}, "vision_cfg.image_size = 32"),
        ("open_clip", TOWER, {"pool_type": "avg"}, "vision_cfg.pool_type = 'avg', which is not supported"),
        ("open_clip", ("model_cfg",), {"embed_dim": 512}, "model_cfg.embed_dim = 512, and the tensors have 10"),
        ("open_clip", ("preprocess_cfg",), {"resize_mode": "longest"}, "resize_mode 'longest'"),
    ],
)
def test_a_contradiction_names_both_sides(
    case: str, at: tuple[str, ...], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    name = "open_clip_config.json" if case == "open_clip" else "config.json"
    folder = changed(case, tmp_path / "m", name, at, change)
    with pytest.raises(ConfigError, match=message) as caught:
        convert(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "args", "message"),
    [
        ({}, {"embed_dim": 32}, "model_args.embed_dim = 32, and the tensors have 16"),
        ({}, {"patch_size": 14}, "model_args.patch_size = 14, and the tensors have 4"),
        ({}, {"reg_tokens": 4}, "model_args.reg_tokens = 4, and the tensors have 0"),
        ({}, {"class_token": False}, "model_args.class_token = False"),
        ({}, {"global_pool": "map"}, "model_args.global_pool = 'map'; known: token, avg"),
        ({}, {"mlp_ratio": 2.0}, "model_args.mlp_ratio = 2.0"),
        ({}, {"act_layer": "gelu_tanh"}, "model_args.act_layer = 'gelu_tanh', which is not supported"),
        ({"input_size": [3, 518, 518]}, {}, r"pretrained_cfg.input_size = \[518, 518\], which is 129 x 129 patches"),
        ({"input_size": [1, 16, 16]}, {}, "pretrained_cfg.input_size = 1, and the tensors have 3"),
        ({"crop_mode": "border"}, {}, "crop_mode 'border'"),
    ],
)
def test_a_contradiction_of_timm(data: dict, args: dict, message: str, tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "m", tensors_of("dinov2_meta"), "vit_small_patch14_dinov2", data, args)
    with pytest.raises(ConfigError, match=message):
        convert(folder)
