"""Reading of foreign weights: from a path to named tensors, without running code and without reading other tensors."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.container import contents, is_safetensors
from jepa_jax.pretrained.tensor import Contents, Tensor, printable
from jepa_jax.pretrained.weight_files import WEIGHT_FILE_NAMES, find, is_index, read_json, shard_of_tensors

# Fields of a config file, of which at least one says that it describes a model: of transformers, open_clip and timm.
MODEL_FIELDS = ("model_type", "model_cfg", "pretrained_cfg")


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
      others: Entries beside the tensors that are none: full names, and the names of their types.
    """

    path: Path
    files: tuple[Path, ...]
    groups: dict[str, dict[str, Tensor]]
    config: dict[str, Any] | None
    preprocessor: dict[str, Any] | None
    config_name: str | None = None
    preprocessor_name: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file or folder; of a file with a name of its own in a folder, which may tell what it is."""
        own = len(self.files) == 1 and self.files[0].name not in WEIGHT_FILE_NAMES
        return self.files[0].name if own else self.path.name


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
    file = find(path)
    files, found = _sharded(file) if is_index(file) else ((file,), contents(file))
    if not any(found.groups.values()):
        raise _nothing(path, found)
    # A config.json beside a file with a name of its own may describe anything else.
    surely = (path.is_dir() and file.name in WEIGHT_FILE_NAMES) or is_safetensors(file)
    config_name, config = _config(file, surely)
    preprocessor_name, preprocessor = _preprocessor(file.parent)
    return Weights(path, files, found.groups, config, preprocessor, config_name, preprocessor_name, found.others)


def sha256(path: Path) -> str:
    """Return the SHA-256 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sharded(index: Path) -> tuple[tuple[Path, ...], Contents]:
    """Return the shards that an index names, and all their tensors in one group."""
    places = shard_of_tensors(index)
    tensors: dict[str, Tensor] = {}
    others: dict[str, str] = {}
    files = tuple(index.parent / shard for shard in sorted(set(places.values())))
    for file in files:
        found = contents(file)
        shard = found.groups.get("", {})
        if twice := tensors.keys() & shard.keys():
            raise ConfigError(f"tensor {min(twice)!r} is in {file} and in another shard; download both again")
        tensors |= shard
        others |= found.others
    if lost := places.keys() - tensors.keys():
        raise ConfigError(f"{index} names the tensor {min(lost)!r}, which is in no shard; download them again")
    return files, Contents({"": tensors}, others)


def _nothing(path: Path, found: Contents) -> ConfigError:
    """Return the error for a file without tensors by name, which says what there is instead."""
    kinds = sorted({kind for kind in found.others.values() if "." in kind})
    if any(key.rpartition(".")[2] == "param_groups" for key in found.others):
        return ConfigError(f"{path} holds the state of an optimizer and no weights by name; name the file of the model")
    some = f", but objects such as {printable(', '.join(kinds[:3]))}, whose code is not run" if kinds else ""
    return ConfigError(f"{path} holds no tensors by name{some}; load it with torch and save a state_dict()")


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
