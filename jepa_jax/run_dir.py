"""Directory of a model: config.json, which describes it, and the other files that it needs beside its checkpoints."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jepa_jax.config import Config
from jepa_jax.config_json import from_tree, to_json
from jepa_jax.errors import ConfigError, first_line
from jepa_jax.files import write_atomically

CONFIG_FILE = "config.json"
STATISTICS_FILE = "statistics.npz"
MIXTURE_FILE = "mixture.json"
EMBEDDINGS_FILE = "embeddings.npz"
INITIAL_FILE = "init_from.json"
FORMAT = 2  # format of config.json; format 1, that of jepa_jax 0.1, did not record its number

# Names in a folder of foreign weights: ends of those of files, and starts of those of folders in Hugging Face's cache.
FOREIGN_SUFFIXES = (".safetensors", ".bin", ".json", ".pth", ".pt", ".ckpt", ".tar")
CACHED = ("snapshots", "models--")

Kind = Literal["run", "converted", "foreign"]


def kind_of(path: Path) -> Kind:
    """Return whether a path leads to a training run, a converted model or foreign weights.

    Raises:
      ConfigError: If it leads to none of them, or to a directory whose format this version does not support.
    """
    try:
        if path.is_file():
            return "foreign"
        here = "is no directory and no file" if path.exists() else "does not exist"
        if not path.is_dir():
            raise ConfigError(f"{path} {here}; a model is a directory made by python -m train, or foreign weights")
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        tree = json.loads((path / CONFIG_FILE).read_text())
    except FileNotFoundError:
        tree = None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path / CONFIG_FILE} is damaged: {first_line(error)}") from None
    if isinstance(tree, dict) and "sample_shape" in tree:
        check_format(path, tree)
        return "converted" if "vit" in tree else "run"
    if tree is None and not any(p.name.endswith(FOREIGN_SUFFIXES) or p.name.startswith(CACHED) for p in path.iterdir()):
        raise ConfigError(f"{path} is not a run directory: it has no {CONFIG_FILE} and holds no weights")
    return "foreign"


def check_format(path: Path, tree: dict[str, Any]) -> None:
    """Check that this version supports the format of a directory.

    Args:
      path: Directory, for the message.
      tree: Content of its config.json.

    Raises:
      ConfigError: If it does not; the message gives the two formats.
    """
    found = tree.get("format", 1)
    if not isinstance(found, int) or found not in range(1, FORMAT + 1):
        raise ConfigError(
            f"{path} has format {found!r}, but this version of jepa_jax supports formats up to {FORMAT}; "
            "read it with the version that wrote it"
        )


def write_config(run: Path, config: Config, shape: tuple[int, ...]) -> None:
    """Write config.json: the resolved config and the shape of one sample, on which the shapes of the weights depend."""
    tree = {"format": FORMAT, **json.loads(to_json(config)), "sample_shape": list(shape)}
    write_atomically(run / CONFIG_FILE, lambda path: path.write_text(json.dumps(tree, indent=2) + "\n"))


def read_config(run: Path) -> tuple[Config, tuple[int, ...]]:
    """Return the config and the sample shape of a run directory.

    Raises:
      ConfigError: If there is no config.json, it cannot be read, or this version does not support its format.
    """
    path = run / CONFIG_FILE
    try:
        tree = json.loads(path.read_text())
        shape = tuple(int(n) for n in tree.pop("sample_shape"))
    except FileNotFoundError:
        raise ConfigError(f"{run} is not a run directory: it has no {CONFIG_FILE}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: {first_line(error)}") from None
    if any(n < 1 for n in shape):
        raise ConfigError(f"{path} is damaged: samples have the shape {list(shape)}")
    check_format(run, tree)
    tree.pop("format", None)
    tree.pop("export", None)
    try:
        return from_tree(tree), shape
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_export(folder: Path) -> dict[str, Any] | None:
    """Return what an exported model has in place of checkpoints, such as its `step`; None for other models.

    Raises:
      ConfigError: If config.json is damaged.
    """
    try:
        return json.loads((folder / CONFIG_FILE).read_text()).get("export")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{folder / CONFIG_FILE} is damaged: {first_line(error)}") from None


def write_statistics(run: Path, statistics: dict[str, Any]) -> None:
    """Write what a run computed from its data, so that scoring does not need the data.

    These are `mean`, `scale`, `noise`, and `noise_is_local`, whether every row has a noise of its own.
    """
    arrays = {name: np.asarray(value, np.float32) for name, value in statistics.items()}
    write_atomically(run / STATISTICS_FILE, lambda path: np.savez(path, allow_pickle=False, **arrays))


def read_statistics(run: Path) -> dict[str, np.ndarray] | None:
    """Return what `write_statistics` wrote; None for a run of jepa_jax 0.1, which did not write the file.

    Raises:
      ConfigError: If the file is damaged.
    """
    return _read_arrays(run / STATISTICS_FILE, "to have it recomputed")


def write_embeddings(run: Path, step: int, z: np.ndarray) -> None:
    """Write embeddings [n, K] of training samples by the checkpoint that is the result of a run."""
    z = np.asarray(z, np.float32)
    write_atomically(run / EMBEDDINGS_FILE, lambda path: np.savez(path, allow_pickle=False, z=z, step=step))


def read_embeddings(run: Path, step: int) -> np.ndarray | None:
    """Return the embeddings [n, K] that `write_embeddings` wrote; None if there are none of this checkpoint.

    Raises:
      ConfigError: If the file is damaged.
    """
    stored = _read_arrays(run / EMBEDDINGS_FILE, "to measure a law among the scored samples", "z", "step")
    return stored["z"] if stored is not None and int(stored["step"]) == step else None


def _read_arrays(path: Path, remedy: str, *names: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file, which has these at least; None if there is no file.

    Raises:
      ConfigError: If the file is damaged; the message says why one would delete it.
    """
    if not path.exists():
        return None
    try:
        # Pass a file, not a path, because NumPy leaves its own file open if a zip is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored) | {name: stored[name] for name in names}
    except Exception as error:  # a damaged file raises many types of exceptions in NumPy and in zipfile
        # NumPy takes what it does not know for a pickle, and says how to load it.
        reason = "it is not a NumPy file" if "pickle" in str(error) else first_line(error)
        raise ConfigError(f"{path} is damaged: {reason}; delete it {remedy}") from None


def write_initial(run: Path, described: dict[str, Any]) -> None:
    """Write what a run took from another model, as JSON: `model`, `taken`, `anew`, `preprocessing` and `origin`."""
    write_atomically(run / INITIAL_FILE, lambda path: path.write_text(json.dumps(described, indent=2) + "\n"))


def read_initial(run: Path) -> dict[str, Any] | None:
    """Return what `write_initial` wrote; None for a run that started from random weights.

    Raises:
      ConfigError: If the file is damaged.
    """
    path = run / INITIAL_FILE
    try:
        tree = json.loads(path.read_text())
        if not isinstance(tree, dict) or not tree.keys() >= {"preprocessing", "origin"}:
            raise ValueError("it has no preprocessing or no origin")
        return tree
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: {first_line(error)}") from None


def write_mixture(run: Path, step: int, weights: list[float]) -> None:
    """Write the weights of the members in the density of a checkpoint, beside those of other checkpoints."""
    known = _mixtures(run) | {str(step): weights}
    write_atomically(run / MIXTURE_FILE, lambda path: path.write_text(json.dumps(known, indent=2) + "\n"))


def read_mixture(run: Path, step: int) -> list[float] | None:
    """Return the weights of the members at a checkpoint; None if they are not known, and all members count alike.

    Raises:
      ConfigError: If the file is damaged.
    """
    return _mixtures(run).get(str(step))


def _mixtures(run: Path) -> dict[str, list[float]]:
    path = run / MIXTURE_FILE
    try:
        return {str(step): [float(w) for w in weights] for step, weights in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged: {first_line(error)}; delete it to give all members the same weight"
        ) from None
