"""Reading of foreign weights: from a path to named tensors, without running code and without reading other tensors."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import safetensors_file, torch_zip
from jepa_jax.pretrained.tensor import Tensor

# Files that a directory may hold, in order of preference.
WEIGHT_FILE_NAMES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)

# Fields of a config file, of which at least one says that it describes a model: of transformers, open_clip and timm.
MODEL_FIELDS = ("model_type", "model_cfg", "pretrained_cfg")

# First bytes of files that often occur in place of weights, and the end of the error message.
REFUSED_HEADS = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": "is in the format of torch before 1.6; load it and torch.save it "
    "again, or use safetensors",
    b"version https://git-lfs": "is a Git LFS pointer, not the weights; run `git lfs pull` in its repository",
}


@dataclass(frozen=True)
class Weights:
    """Foreign weights, opened but not read.

    Attributes:
      path: Path that the user named.
      files: Files that contain the tensors.
      groups: State dicts by their key in the file, such as `target_encoder`; the key of a bare state dict is "".
      config: Content of the config.json or open_clip_config.json that belongs to the files, or None.
      preprocessor: Content of the preprocessor_config.json beside the files, or the image processor in their
        processor_config.json, or None.
      config_name: Name of the file that `config` comes from, or None.
      preprocessor_name: Name of the file that `preprocessor` comes from, or None.
    """

    path: Path
    files: tuple[Path, ...]
    groups: dict[str, dict[str, Tensor]]
    config: dict[str, Any] | None
    preprocessor: dict[str, Any] | None
    config_name: str | None = None
    preprocessor_name: str | None = None


def open_weights(path: str | Path) -> Weights:
    """Find the tensors of foreign weights, without reading their bytes.

    Args:
      path: Hugging Face directory, a .safetensors file, or a file of torch.save (.pth, .pth.tar, .pt, .bin). The format
        is determined by the content of a file, not by its suffix.

    Returns:
      The tensors by group and name, and the JSON files that belong to them.

    Raises:
      ConfigError: If the path does not exist or leads to something else, if a file is damaged, or if loading it would
        run code.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, False if access is denied
        raise ConfigError(f"{path} does not exist or cannot be reached; name a directory or a file of weights")
    file = _in_directory(path) if path.is_dir() else path
    if file.name.endswith(".index.json"):
        files, groups = _sharded(file)
    else:
        files, groups = (file,), _groups(file)
    if not any(groups.values()):
        raise ConfigError(f"{path} holds no tensors by name at its top level or one level below; save a state_dict()")
    # A config.json beside a .pth file may describe anything else.
    surely = path.is_dir() or _is_safetensors(file)
    config_name, config = _config(file, surely)
    preprocessor_name, preprocessor = _preprocessor(file.parent)
    return Weights(path, files, groups, config, preprocessor, config_name, preprocessor_name)


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_directory(folder: Path) -> Path:
    for name in WEIGHT_FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"{folder} holds no weights; looked for {', '.join(WEIGHT_FILE_NAMES)}")


def _sharded(index: Path) -> tuple[tuple[Path, ...], dict[str, dict[str, Tensor]]]:
    """Return the shards that an index names, and all their tensors in one group."""
    places = (read_json(index) or {}).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ConfigError(f"{index} has no weight_map from tensors to files; download it again")
    tensors: dict[str, Tensor] = {}
    files = []
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or not (index.parent / shard).is_file():
            raise ConfigError(f"{index} names the shard {shard!r}, which is not beside it; download it too")
        files.append(index.parent / shard)
        found = _groups(files[-1]).get("", {})
        if twice := tensors.keys() & found.keys():
            raise ConfigError(f"tensor {min(twice)!r} is in {files[-1]} and in another shard; download both again")
        tensors.update(found)
    if lost := places.keys() - tensors.keys():
        raise ConfigError(f"{index} names the tensor {min(lost)!r}, which is in no shard; download them again")
    return tuple(files), {"": tensors}


def _groups(file: Path) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts of one file of either format.

    Raises:
      ConfigError: If the file cannot be read, whatever the reason.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is not a regular file; name a directory or a file of weights")
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
        for start, reason in REFUSED_HEADS.items():
            if head.startswith(start):
                raise ConfigError(f"{file} {reason}")
        if head[257:262] == b"ustar":
            raise ConfigError(
                f"{file} is a tar archive; unpack it, or if an old version of torch wrote it, torch.save it again"
            )
        if head.startswith(b"PK\x03\x04"):
            return torch_zip.groups(file)
        if _is_safetensors(file):
            return {"": safetensors_file.tensors(file)}
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}; name another file") from error
    except Exception as error:  # damaged bytes may cause any exception
        reason = f"{type(error).__name__}: {error}".encode("unicode_escape").decode()[:200]
        raise ConfigError(f"{file} is truncated or damaged ({reason}); download or save it again") from error
    raise ConfigError(f"{file} is neither safetensors nor a zip of torch.save; save it again as one of them")


def _is_safetensors(file: Path) -> bool:
    """Return whether the first eight bytes, the length of the header, are followed by a JSON object."""
    with file.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def _config(file: Path, surely: bool) -> tuple[str | None, dict[str, Any] | None]:
    """Return the config beside a file of weights and its name, or None twice.

    Args:
      file: File of weights.
      surely: Whether any config beside it describes it; otherwise the config must contain the fields of a model.
    """
    names = ["config.json", "open_clip_config.json"]  # some directories hold a model in both forms
    for name in reversed(names) if file.name.startswith("open_clip") else names:
        config = read_json(file.parent / name)
        if config is not None and (surely or any(field in config for field in MODEL_FIELDS)):
            return name, config
    return None, None


def _preprocessor(folder: Path) -> tuple[str | None, dict[str, Any] | None]:
    """Return the options of an image processor in a folder and the name of their file, or None twice.

    transformers 5 nests them in the file of all processors of a model, and prefers those.
    """
    name = "processor_config.json"
    nested = (read_json(folder / name) or {}).get("image_processor")
    if nested is not None:
        if not isinstance(nested, dict):
            raise ConfigError(f"{folder / name} has image_processor {nested!r}, not an object; download it again")
        return name, nested
    name = "preprocessor_config.json"
    found = read_json(folder / name)
    return (None, None) if found is None else (name, found)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if there is no file."""
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); download it again") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} should hold a JSON object, not a {type(tree).__name__}; download it again")
    return tree
