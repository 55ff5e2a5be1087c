"""Tiny networks of every family in PyTorch, the files people have of them, and what PyTorch computes with them.

`python -m tests.helpers.peers` writes the golden files that the ordinary tests read instead.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers import GOLDEN

NATIVE, OTHERS, PATCH, WIDTH, HEADS, DEPTH = 16, (24, 8), 4, 16, 2, 2
SIZES = {"num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "hidden_size": WIDTH}
IMAGE = {"image_size": NATIVE, "patch_size": PATCH}
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}


@dataclass(frozen=True)
class Case:
    """One network in one kind of file.

    Attributes:
      make: the network.
      save: (network, folder) -> the path that a user would name.
      embed: (network, images [B, 3, H, W]) -> [B, K].
      resize: how the origin brings position embeddings [1, D, S, S] to a side; None where the network does it.
      options: of the converter.
    """

    make: Callable[[], nn.Module]
    save: Callable[[nn.Module, Path], Path]
    embed: Callable[[nn.Module, Tensor], Tensor]
    resize: Callable[[Tensor, int], Tensor] | None = None
    options: tuple[tuple[str, Any], ...] = ()


def randomised(model: nn.Module, scale: float = 0.2) -> nn.Module:
    """Every parameter away from its initial value: zero biases and unit gains would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


# What each family reads.


def patches_mean(model: nn.Module, images: Tensor) -> Tensor:
    """I-JEPA's."""
    return model(images, interpolate_pos_encoding=True).last_hidden_state.mean(1)


def class_token(model: nn.Module, images: Tensor) -> Tensor:
    """DINOv2's."""
    return model(images).last_hidden_state[:, 0]


def projected(model: nn.Module, images: Tensor) -> Tensor:
    """CLIP's."""
    if hasattr(model, "get_image_features"):
        return model.get_image_features(images, interpolate_pos_encoding=True).pooler_output
    return model(images, interpolate_pos_encoding=True).image_embeds


# The networks.


def ijepa(**sizes: Any) -> nn.Module:
    """An encoder of I-JEPA."""
    sizes = {**SIZES, **IMAGE, "intermediate_size": 4 * WIDTH, "layer_norm_eps": 1e-6, **sizes}
    return transformers.IJepaModel(transformers.IJepaConfig(**sizes), add_pooling_layer=False)


def dinov2(**sizes: Any) -> nn.Module:
    """DINOv2 without registers."""
    return transformers.Dinov2Model(transformers.Dinov2Config(**{**SIZES, **IMAGE, **sizes}))


def registers() -> nn.Module:
    """DINOv2 with registers."""
    config = transformers.Dinov2WithRegistersConfig(**SIZES, **IMAGE, num_register_tokens=3)
    return transformers.Dinov2WithRegistersModel(config)


def clip_vision(**sizes: Any) -> nn.Module:
    """CLIP's image tower with its projection."""
    sizes = {**SIZES, **IMAGE, "intermediate_size": 4 * WIDTH, "projection_dim": 10, **sizes}
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**sizes))


def clip_full(kind: str = "CLIP", **sizes: Any) -> nn.Module:
    """Both towers."""
    vision = {**SIZES, **IMAGE, "intermediate_size": 4 * WIDTH, **sizes}
    text = {**TEXT, "max_position_embeddings": 6}
    config = getattr(transformers, f"{kind}Config")(vision_config=vision, text_config=text, projection_dim=10)
    return getattr(transformers, f"{kind}Model")(config)


# The files.


def hugging_face(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float32, shard: str = "5GB") -> Path:
    """A directory, as `save_pretrained` writes it."""
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    model.to(torch.float32)
    return folder


def fused(state: dict[str, Tensor], before: str, names: tuple[str, str, str], after: str) -> Tensor:
    """Query, key and value in one."""
    return torch.cat([state[f"{before}{name}.{after}"] for name in names])


def file_names(model: nn.Module) -> dict[str, Tensor]:
    """The weights by the names they have in files, which are not those they have in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def meta_names(model: nn.Module, table: dict[str, str]) -> dict[str, Tensor]:
    """A Hugging Face network's weights in the names of Meta's code."""
    state = file_names(model)
    renamed = {}
    for key, value in state.items():
        if ".attention.attention." in key:
            continue
        for old, new in table.items():
            key = key.replace(old, new)
        renamed[key] = value
    for i in range(DEPTH):
        for kind in ("weight", "bias"):
            before = f"encoder.layer.{i}.attention.attention."
            renamed[f"blocks.{i}.attn.qkv.{kind}"] = fused(state, before, ("query", "key", "value"), kind)
    return renamed


META = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "",
    "attention.output.dense": "attn.proj",
    "encoder.layer.": "blocks.",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "weights_in": "w12",
    "weights_out": "w3",
    "layernorm": "norm",
}


def ijepa_tar(model: nn.Module, folder: Path) -> Path:
    """An original checkpoint: two encoders, a predictor, the optimiser and numbers."""
    target = {f"module.{k}": v for k, v in meta_names(model, META).items()}
    context = {k: v + 1 for k, v in target.items()}
    optimiser = torch.optim.AdamW([nn.Parameter(torch.ones(5))])
    optimiser.param_groups[0]["params"][0].grad = torch.ones(5)
    optimiser.step()
    tree = {"encoder": context, "predictor": {"module.mask_token": torch.zeros(3)}, "target_encoder": target}
    tree |= {"opt": optimiser.state_dict(), "scaler": {"scale": 65536.0}, "epoch": 300, "loss": 0.1, "lr": 1e-6}
    return saved(tree, folder / "vit-ep300.pth.tar")


def dinov2_pth(model: nn.Module, folder: Path) -> Path:
    """An original file: a bare state dict."""
    return saved(meta_names(model, META), folder / "dinov2_pretrain.pth")


def open_clip_names(model: nn.Module) -> dict[str, Tensor]:
    """Both towers, the text's by name only, in the names of open_clip."""
    state = file_names(model)
    table = {
        "vision_model.embeddings.patch_embedding": "visual.conv1",
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "vision_model.encoder.layers": "visual.transformer.resblocks",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    renamed = {"visual.proj": state["visual_projection.weight"].T.contiguous(), "logit_scale": torch.ones(())}
    renamed |= {"token_embedding.weight": torch.ones(3, 4), "transformer.resblocks.0.ln_1.weight": torch.ones(4)}
    renamed |= {"positional_embedding": torch.ones(2, 4), "text_projection": torch.ones(4, 4)}
    for key, value in state.items():
        if not key.startswith("vision_model.") or any(f".{k}_proj." in key for k in "qkv"):
            continue
        for old, new in table.items():
            key = key.replace(old, new)
        renamed[key] = value
    for i in range(DEPTH):
        for kind in ("weight", "bias"):
            qkv = fused(state, f"vision_model.encoder.layers.{i}.self_attn.", ("q_proj", "k_proj", "v_proj"), kind)
            renamed[f"visual.transformer.resblocks.{i}.attn.in_proj_{kind}"] = qkv
    return renamed


def metaclip_pt(model: nn.Module, folder: Path) -> Path:
    """An original file: a training checkpoint."""
    state = {f"module.{k}": v for k, v in open_clip_names(model).items()}
    return saved({"epoch": 1, "name": "b32", "state_dict": state}, folder / "b32_400m.pt")


def open_clip_folder(model: nn.Module, folder: Path) -> Path:
    """What open_clip uploads, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.to(torch.float16).contiguous() for k, v in open_clip_names(model).items()}
    with torch.no_grad():  # the peer computes with the rounded numbers
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.float16).to(torch.float32))
    save_file(half, folder / "open_clip_model.safetensors")
    vision = {"image_size": NATIVE, "layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH}
    tree = {"model_cfg": {"embed_dim": 10, "vision_cfg": vision}, "preprocess_cfg": {"mean": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(tree))
    return folder


def saved(tree: Any, path: Path) -> Path:
    """Write by torch.save."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tree, path)
    return path


def rounded(model: nn.Module, folder: Path) -> Path:
    """A directory in bfloat16, whose numbers the peer then has too."""
    return hugging_face(model, folder, torch.bfloat16)


def sharded(model: nn.Module, folder: Path) -> Path:
    """A directory of several files."""
    return hugging_face(model, folder, shard="20KB")


# Position embeddings, by torch.


def offset(grid: Tensor, side: int) -> Tensor:
    """Meta's DINOv2 without registers."""
    ratio = (side + 0.1) / grid.shape[-1]
    return F.interpolate(grid, scale_factor=(ratio, ratio), mode="bicubic")


def antialiased(grid: Tensor, side: int) -> Tensor:
    """Meta's DINOv2 with registers, and open_clip."""
    return F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)


CASES = {
    "ijepa_hf": Case(ijepa, hugging_face, patches_mean),
    "ijepa_meta": Case(ijepa, ijepa_tar, patches_mean, options=(("heads", HEADS),)),
    "dinov2_hf": Case(dinov2, hugging_face, class_token),
    "dinov2_hf_bf16": Case(dinov2, rounded, class_token),
    "dinov2_hf_giant": Case(lambda: dinov2(use_swiglu_ffn=True), sharded, class_token),
    "dinov2_hf_no_bias": Case(lambda: dinov2(qkv_bias=False), hugging_face, class_token),
    "dinov2_hf_registers": Case(registers, hugging_face, class_token),
    "dinov2_meta": Case(dinov2, dinov2_pth, class_token, offset, (("heads", HEADS),)),
    "dinov2_meta_giant": Case(
        lambda: dinov2(use_swiglu_ffn=True), dinov2_pth, class_token, offset, (("heads", HEADS),)
    ),
    "dinov2_meta_registers": Case(registers, dinov2_pth, class_token, antialiased, (("heads", HEADS),)),
    "clip_hf_vision": Case(clip_vision, hugging_face, projected),
    "clip_hf_full": Case(lambda: clip_full(hidden_act="gelu"), hugging_face, projected),
    "metaclip2_hf": Case(lambda: clip_full("MetaClip2"), hugging_face, projected),
    "metaclip_pt": Case(clip_full, metaclip_pt, projected, antialiased, (("heads", HEADS),)),
    "open_clip": Case(lambda: clip_full(hidden_act="gelu"), open_clip_folder, projected, antialiased),
}


def peer(case: Case, model: nn.Module, side: int) -> Callable[[Tensor], Tensor]:
    """The network at a resolution, in float64, as its origin would run it: [B, 3, H, W] -> [B, K]."""
    model = model.double()
    grid = side // PATCH
    if case.resize is not None and grid != NATIVE // PATCH:
        model = _at(case, model, grid)
    return lambda images: case.embed(model, images)


def _at(case: Case, model: nn.Module, grid: int) -> nn.Module:
    """A network of another resolution with the same weights, its positions resized as the origin does."""
    again = case.make().double().eval()
    state = model.state_dict()
    name = next(key for key in state if "position_embedding" in key and "text" not in key)
    positions = state[name].reshape(-1, WIDTH)
    native = NATIVE // PATCH
    first, rest = positions[:1], positions[1:]
    assert case.resize is not None
    square = rest.float().T.reshape(1, WIDTH, native, native)
    resized = case.resize(square, grid)
    assert resized.shape[-2:] == (grid, grid)
    rest = resized.double().reshape(WIDTH, -1).T
    state[name] = torch.cat([first, rest]).reshape(*([1] if state[name].ndim == 3 else []), -1, WIDTH)
    owner, leaf = again, name.split(".")
    for part in leaf[:-1]:
        owner = getattr(owner, part)
    if isinstance(owner, nn.Embedding):
        owner.num_embeddings = 1 + grid**2
    setattr(owner, leaf[-1], nn.Parameter(state[name]))
    for module in again.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(1 + grid**2)[None]
            module.num_patches = module.num_positions = grid**2 + 1
    again.load_state_dict(state)
    return again


def images(side: int, count: int = 2) -> np.ndarray:
    """[count, side, side, 3]."""
    return np.random.default_rng(side).standard_normal((count, side, side, 3), np.float32)


def torch_images(xs: np.ndarray) -> Tensor:
    """The same for PyTorch: float64, channels first."""
    return torch.tensor(xs.transpose(0, 3, 1, 2), dtype=torch.float64)


def expected(case: Case, model: nn.Module, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [B, K] and singular values of the Jacobians [B, R], in float64."""
    f, xs = peer(case, model, side), torch_images(images(side))
    with torch.no_grad():
        z = f(xs).numpy()
    J = torch.autograd.functional.jacobian(lambda x: f(x).sum(0), inputs=xs)
    return z, torch.linalg.svdvals(J.flatten(2).permute(1, 0, 2)).numpy()


def write_golden() -> None:
    """Write tests/golden: a folder a case with the file, and expected.npz."""
    for name, case in CASES.items():
        model = randomised(case.make())
        path = case.save(model, GOLDEN / name)
        arrays = {}
        for side in (NATIVE, *OTHERS):
            arrays[f"z_{side}"], arrays[f"sigma_{side}"] = expected(case, model, side)
        np.savez_compressed(GOLDEN / name / "expected.npz", **arrays)
        sizes = [p.stat().st_size for p in (GOLDEN / name).iterdir()]
        print(f"{name}: {path.relative_to(GOLDEN)}, {sum(sizes) / 1e3:.0f} kB")


if __name__ == "__main__":
    write_golden()
