"""Files of weights that a path leads to: a file, a directory, shards with an index, or a cache of Hugging Face."""

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from jepa_jax.errors import ConfigError

# Files that a directory may hold, in order of preference.
WEIGHT_FILE_NAMES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
INDEX = re.compile(r".*\.index(\.[\w-]+)?\.json")  # with a variant, such as fp16, where transformers inserts it
SHARD = re.compile(r".*-\d+-of-\d+\.\w+")
VARIANT = re.compile(r"(open_clip_)?(pytorch_)?model\.[\w-]+\.(safetensors|bin)")
BYSTANDERS = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state|random_states|sampler)[._-].*")
NAMED_FILES = 5  # in a message


def find(path: Path) -> Path:
    """Return the file of weights or the index of shards that a path leads to.

    Args:
      path: File, directory with weights, or folder of a model in the cache of Hugging Face.

    Raises:
      ConfigError: If there is none, or there are several and their names do not tell which one is wanted.
    """
    if not os.path.exists(path):  # unlike Path.exists, False if access is denied
        raise ConfigError(f"{path} does not exist or cannot be reached; name a directory or a file of weights")
    if not path.is_dir():
        return path
    try:
        return _in_directory(snapshot(path))
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}; name a file of weights") from error


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files that contain the tensors to which a path leads: one, or the shards that an index names.

    Raises:
      ConfigError: If there are none, or an index is damaged or names a file that is not there.
    """
    file = find(path)
    if not is_index(file):
        return (file,)
    return tuple(file.parent / shard for shard in sorted(set(shard_of_tensors(file).values())))


def is_index(file: Path) -> bool:
    """Return whether the name is that of an index of shards."""
    return INDEX.fullmatch(file.name) is not None


def shard_of_tensors(index: Path) -> dict[str, str]:
    """Return the file of each tensor, relative to the folder of the index, in which all of them lie.

    Raises:
      ConfigError: If the index is damaged, or names a file outside its folder or one that is not there.
    """
    places = (read_json(index) or {}).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ConfigError(f"{index} has no weight_map from tensors to files; download it again")
    for shard in sorted(set(places.values())):
        inside = PurePosixPath(shard)
        safe = shard.isprintable() and not inside.is_absolute() and ".." not in inside.parts and "\\" not in shard
        if not safe or not os.path.isfile(index.parent / shard):
            raise ConfigError(f"{index} names the shard {shard[:200]!r}, which is not beside it; download it too")
    return places


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


def snapshot(folder: Path) -> Path:
    """Return the folder with the files of a model in the cache of Hugging Face, or the same folder if it is none."""
    models = sorted(p.name for p in folder.glob("models--*") if p.is_dir())
    if len(models) > 1:
        raise ConfigError(f"{folder} holds several models; name one: {_listed(models)}")
    if models:
        return snapshot(folder / models[0])
    if not (folder / "snapshots").is_dir():
        return folder
    revisions = sorted(p.name for p in (folder / "snapshots").iterdir() if p.is_dir())
    main = folder / "refs" / "main"
    named = main.read_text(errors="replace").strip() if main.is_file() else None
    if named in revisions or len(revisions) == 1:
        return folder / "snapshots" / (named if named in revisions else revisions[0])
    if not revisions:
        raise ConfigError(f"{folder} holds no snapshot of its model; download it again")
    raise ConfigError(f"{folder} holds several snapshots, and refs/main is none of them; name one: {revisions}")


def _in_directory(folder: Path) -> Path:
    for name in WEIGHT_FILE_NAMES:
        if (folder / name).is_file():
            return folder / name
    files = _candidates(folder)
    whole = [name for name in files if not SHARD.fullmatch(name)]
    wanted = [name for name in whole if VARIANT.fullmatch(name)] or whole
    for few in (wanted, [name for name in wanted if name.endswith(".safetensors")]):
        if len(few) == 1:
            return folder / few[0]
    if wanted:
        raise ConfigError(f"{folder} holds several files of weights; name one: {_listed(wanted)}")
    if files:
        raise ConfigError(f"{folder} holds shards without their index; download their .index.json too")
    below = sorted(p.name for p in folder.iterdir() if p.is_dir() and _candidates(p))
    hint = f"; name a folder in it: {_listed(below)}" if below else ""
    raise ConfigError(
        f"{folder} holds no weights{hint}; looked for {', '.join(WEIGHT_FILE_NAMES)} and one file of "
        f"{', '.join(SUFFIXES)}"
    )


def _candidates(folder: Path) -> list[str]:
    """Return the names in a folder that are those of weights, or of an index of shards."""
    return sorted(
        p.name
        for p in folder.iterdir()
        if (p.name.endswith(SUFFIXES) or is_index(p))
        and not p.name.startswith(".")
        and not BYSTANDERS.fullmatch(p.name)
        and p.is_file()
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_FILES} more" if len(names) > NAMED_FILES else ""
    return ", ".join(names[:NAMED_FILES]) + more
