"""Model directory of a converted model: Orbax parameters and config.json, which is all that scoring needs."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from jepa_jax.checkpoint import restore_params, save_params
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.images.preprocessing import Preprocessing
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained.convert import Converted
from jepa_jax.pretrained.exported import load_weights
from jepa_jax.run_dir import CONFIG_FILE, FORMAT

MODEL_FIELDS = {"vit", "preprocessing", "origin", "sample_shape"}


def write(converted: Converted, out: Path) -> None:
    """Write a model directory atomically.

    Raises:
      ConfigError: If something else exists at `out`, or the directory cannot be written.
    """

    def fill(folder: Path) -> None:
        save_params(folder, converted.params)
        (folder / CONFIG_FILE).write_text(json.dumps(description(converted), indent=2) + "\n")

    write_folder(out, fill)


def description(converted: Converted) -> dict[str, Any]:
    """Return the content of config.json for a converted model."""
    return {
        "format": FORMAT,
        "vit": asdict(converted.config),
        "sample_shape": list(converted.config.shape),
        "preprocessing": converted.preprocessing and converted.preprocessing.to_dict(),
        "origin": converted.origin,
    }


def write_folder(out: Path, fill: Callable[[Path], object]) -> None:
    """Call `fill(temporary)` with an empty folder, and move it to `out`.

    Raises:
      ConfigError: As in `write`.
    """
    check_free(out)
    make_directory(out.parent)
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    try:
        temporary.mkdir()
        fill(temporary)
        if out.exists():
            shutil.rmtree(out)
        os.replace(temporary, out)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}; name another folder with `out`") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(out: Path) -> None:
    """Check that a model directory can be written to `out`.

    There may be nothing, an empty folder, or a converted or exported model that was written before, which is replaced.

    Raises:
      ConfigError: If something else exists there.
    """
    if out.is_dir() and (not any(out.iterdir()) or is_converted(_tree(out))):
        return
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists and is not a converted model; name another folder with `out`")


def is_converted(tree: dict[str, Any] | None) -> bool:
    """Return whether the content of a config.json is that of a converted or an exported model."""
    return tree is not None and (tree.keys() >= MODEL_FIELDS or "export" in tree)


def load_directory(folder: Path) -> Encoder:
    """Load the encoder of a model directory.

    Raises:
      ConfigError: If the directory is damaged.
    """
    return read_directory(folder).encoder


def read_directory(folder: Path) -> Converted:
    """Read a model directory.

    Raises:
      ConfigError: If the directory is damaged.
    """
    tree = _tree(folder)
    try:
        if tree is None:
            raise ValueError("it is not a JSON object")
        config = ViT(**tree["vit"])
        recipe = tree["preprocessing"] and Preprocessing.from_dict(tree["preprocessing"])
        if not isinstance(tree["origin"], dict):
            raise ValueError("origin is not a JSON object")
        abstract = jax.eval_shape(lambda: config.network.init(jax.random.key(0)))
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{folder / CONFIG_FILE} is damaged ({error}); convert the weights again") from None
    params = load_weights(folder, abstract) if "export" in tree else restore_params(folder, abstract)
    return Converted(config, params, recipe, tree["origin"])


def _tree(folder: Path) -> dict[str, Any] | None:
    try:
        tree = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) else None
