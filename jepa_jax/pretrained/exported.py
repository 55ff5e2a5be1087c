"""Weights of an exported model in one file of safetensors, in place of checkpoints."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jepa_jax.errors import ConfigError, first_line

WEIGHTS_FILE = "model.safetensors"


def save_weights(folder: Path, params: Any) -> None:
    """Write weights as float32; a tensor has the names on its path in the tree, divided by points."""
    tensors = {name: np.ascontiguousarray(leaf, np.float32) for name, leaf in _named(params)}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "np"})


def load_weights(folder: Path, abstract: Any) -> Any:
    """Read the weights that `save_weights` wrote.

    Args:
      folder: Folder of the model.
      abstract: Tree with the structure and the shapes of the weights.

    Raises:
      ConfigError: If the file is damaged, or belongs to another network.
    """
    path = folder / WEIGHTS_FILE
    try:
        tensors = load_file(path)
        found = [tensors.pop(name) for name, _ in _named(abstract)]
        shapes = [leaf.shape for leaf in jax.tree.leaves(abstract)]
        if tensors or [tensor.shape for tensor in found] != shapes:
            raise ValueError("its tensors are those of another network")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} is damaged: {first_line(error)}; download it again") from None
    return jax.tree.unflatten(jax.tree.structure(abstract), [jnp.asarray(tensor) for tensor in found])


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(".".join(str(entry.key) for entry in path), leaf) for path, leaf in leaves]
