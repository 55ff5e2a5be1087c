"""Description of a network by the config file beside its weights: of transformers, of timm or of open_clip.

All three are translated to the field names of transformers, so that the converters read one language.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jepa_jax.errors import ConfigError

Origin = Literal["", "transformers", "timm", "open_clip"]

# Fields of transformers <- options of timm's VisionTransformer, and <- fields of open_clip's vision_cfg.
TIMM_FIELDS = {
    "hidden_size": "embed_dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "patch_size": "patch_size",
    "image_size": "img_size",
    "num_channels": "in_chans",
    "num_register_tokens": "reg_tokens",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "class_token": "class_token",
    "pooling": "global_pool",
}
OPEN_CLIP_FIELDS = {
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "patch_size": "patch_size",
    "image_size": "image_size",
    "mlp_ratio": "mlp_ratio",
    "pooling": "timm_pool",
}
OPEN_CLIP_HEAD_WIDTH = 64  # where a vision_cfg has no head_width

REGISTERS = {"dinov2": 0, "dinov2_with_registers": 4}  # of transformers, where a config leaves the number out

# Names of timm's plain vision transformers, such as vit_base_patch16_224 and vit_small_patch14_reg4_dinov2.
TIMM_NAME = re.compile(r"vit_[a-z0-9]+_patch(?P<patch>\d+)(_reg(?P<registers>\d+))?(?P<rest>(_gap|_dinov2|_\d+)*)")
TIMM_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "silu": "gelu"}  # silu: of SwiGLU, seen by the shapes
# Options that make another network, and the values that do not: of timm's VisionTransformer, and of a vision_cfg.
TIMM_PLAIN: dict[str, tuple[Any, ...]] = {
    "act_layer": tuple(TIMM_ACTIVATIONS),
    "norm_layer": ("layernorm", "LayerNorm", "layer_norm"),
    "pool_include_prefix": (False,),
    "final_norm": (True,),
    "pos_embed": ("learn",),
    "block_fn": (),
    "attn_layer": (),
    "embed_layer": (),
}
OPEN_CLIP_PLAIN: dict[str, tuple[Any, ...]] = {
    "pool_type": ("tok",),
    "final_ln_after_pool": (False,),
    "no_ln_pre": (False,),
    "attentional_pool": (False,),
    "pos_embed_type": ("learnable",),
    "act_kwargs": ({},),
}


@dataclass(frozen=True)
class Description:
    """What a config file says of a network.

    Attributes:
      origin: Library that wrote the file; "" if there is none, or none of the three.
      file: Name of the file, or None.
      model: Name of the model, such as a `model_type` or an `architecture`; "" if there is none.
      fields: Fields of the image tower, with the names of transformers.
      spelling: Name of a field in the file, where it is another.
      images: Options of the preprocessing, if this file has them: timm's pretrained_cfg, or open_clip's preprocess_cfg.
      tag: Name of the weights among those of one architecture (timm).
      licence: Licence that the file states (timm), or "".
    """

    origin: Origin = ""
    file: str | None = None
    model: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    spelling: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Any] | None = None
    tag: str = ""
    licence: str = ""

    def spelled(self, name: str) -> str:
        """Return the name of a field as the file spells it."""
        return self.spelling.get(name, name)


def describe(config: dict[str, Any] | None, file: str | None) -> Description:
    """Return the description that a config file contains.

    Args:
      config: Content of the file, or None.
      file: Its name.

    Raises:
      ConfigError: If a part of it has the wrong type, or it describes a variant of timm's network that is not read.
    """
    if config is None or file is None:
        return Description()
    if "model_cfg" in config:
        return _of_open_clip(config, file)
    if "architecture" in config and any(name in config for name in ("pretrained_cfg", "num_features", "input_size")):
        return _of_timm(config, file)
    return _of_transformers(config, file)


def _of_transformers(config: dict[str, Any], file: str) -> Description:
    model = config.get("model_type")
    if not isinstance(model, str):
        model = ""
    tower = config
    if "vision_config" in config or model in ("clip", "metaclip_2"):
        # Fields that a nested config leaves out have the values of a B/32.
        tower = {"num_attention_heads": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
        tower |= _part(config, "vision_config", file)
        tower["projection_dim"] = config.get("projection_dim")
        model = model or _text(tower.get("model_type"))
    if model in REGISTERS:
        tower = {"num_register_tokens": REGISTERS[model], **tower}
    return Description("transformers" if model else "", file, model, tower)


def _of_timm(config: dict[str, Any], file: str) -> Description:
    name = _text(config["architecture"])
    nested = "pretrained_cfg" in config  # older files have its fields at the top
    data = _part(config, "pretrained_cfg", file) if nested else config
    options = _part(config, "model_args", file)
    base, _, tag = name.partition(".")
    fields: dict[str, Any] = {"layer_norm_eps": 1e-6}
    spelling = {}
    if match := TIMM_NAME.fullmatch(base):
        fields |= {"patch_size": int(match["patch"]), "num_register_tokens": int(match["registers"] or 0)}
        spelling |= dict.fromkeys(fields, "architecture")
    if config.get("num_features") is not None:
        fields["hidden_size"], spelling["hidden_size"] = config["num_features"], "num_features"
    if config.get("global_pool") is not None:
        fields["pooling"], spelling["pooling"] = config["global_pool"], "global_pool"
    size = data.get("input_size")
    if isinstance(size, list | tuple) and len(size) == 3:
        fields |= {"num_channels": size[0], "image_size": list(size[1:])}
        spelling |= dict.fromkeys(
            ("num_channels", "image_size"), "pretrained_cfg.input_size" if nested else "input_size"
        )
    for ours, theirs in TIMM_FIELDS.items():
        if options.get(theirs) is not None:
            fields[ours], spelling[ours] = options[theirs], f"model_args.{theirs}"
    _check_plain(options, TIMM_PLAIN, f"{file} has model_args")
    fields["hidden_act"] = TIMM_ACTIVATIONS[options.get("act_layer") or "gelu"]
    tag = _text(data.get("tag")) or tag
    return Description("timm", file, base, fields, spelling, data, tag, _text(data.get("license")))


def _of_open_clip(config: dict[str, Any], file: str) -> Description:
    model = _part(config, "model_cfg", file)
    if not isinstance(model.get("vision_cfg"), dict):
        raise ConfigError(f"{file} has no model_cfg.vision_cfg")
    tower = model["vision_cfg"]
    _check_plain(tower, OPEN_CLIP_PLAIN, f"{file} has vision_cfg")
    fields: dict[str, Any] = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    fields["layer_norm_eps"] = _part(tower, "norm_kwargs", file).get("eps")
    spelling = {}
    for ours, theirs in OPEN_CLIP_FIELDS.items():
        if tower.get(theirs) not in (None, ""):
            fields[ours], spelling[ours] = tower[theirs], f"vision_cfg.{theirs}"
    if model.get("embed_dim") is not None:
        fields["projection_dim"], spelling["projection_dim"] = model["embed_dim"], "model_cfg.embed_dim"
    width, head = tower.get("width"), tower.get("head_width")
    if isinstance(width, int) and "timm_model_name" not in tower:
        head = OPEN_CLIP_HEAD_WIDTH if head is None else head
        if not isinstance(head, int) or head < 1 or width % head:
            raise ConfigError(f"{file} has vision_cfg.head_width = {head!r}, which does not divide its width {width}")
        fields["num_attention_heads"] = width // head
        spelling["num_attention_heads"] = "vision_cfg.width / vision_cfg.head_width"
    images = _part(config, "preprocess_cfg", file) if "preprocess_cfg" in config else None
    name = _text(tower.get("timm_model_name"))
    if name:  # the tower is timm's, with its activation and epsilon
        fields |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6}
    return Description("open_clip", file, name, fields, spelling, images)


def _check_plain(options: Mapping[str, Any], plain: Mapping[str, tuple[Any, ...]], subject: str) -> None:
    """Raise an error if an option makes another network than a plain one."""
    for name, values in plain.items():
        if options.get(name) is not None and options[name] not in values:
            known = f"; known: {', '.join(map(str, values))}" if values else ""
            raise ConfigError(f"{subject}.{name} = {options[name]!r}, which is not supported{known}")


def _part(config: Mapping[str, Any], name: str, file: str) -> dict[str, Any]:
    """Return a nested object of a config file, empty if there is none."""
    part = config.get(name)
    if part is not None and not isinstance(part, dict):
        raise ConfigError(f"{file} has {name} {part!r}, which is not an object; download it again")
    return part or {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
