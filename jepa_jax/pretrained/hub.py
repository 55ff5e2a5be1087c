"""Export of a model to a folder in the form of Hugging Face: model.safetensors, config.json and a card."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from jepa_jax.config_json import from_tree
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.loading import load_run, result_step
from jepa_jax.pretrained.card import card, read_summary
from jepa_jax.pretrained.convert import convert
from jepa_jax.pretrained.directory import description, read_directory, write_folder
from jepa_jax.pretrained.exported import save_weights
from jepa_jax.pretrained.family import Options
from jepa_jax.run_dir import (
    CONFIG_FILE,
    EMBEDDINGS_FILE,
    STATISTICS_FILE,
    kind_of,
    read_export,
    read_initial,
    read_mixture,
)

CARD_FILE = "README.md"
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")  # of a licence
STATED = re.compile(r"states ([A-Za-z0-9][A-Za-z0-9.+-]*?)\.?$")  # in the origin of foreign weights


def export(model: str, out: Path, licence: str | None, options: Options) -> Encoder:
    """Write a model as a folder that hubs of models take, and that `load` and the program score read.

    The folder holds no path of this machine: of data and of other models it names only the last part.

    Args:
      model: Run, converted model or foreign weights.
      out: Folder to write; there may be nothing, or what this function wrote before.
      licence: Identifier of the licence, such as apache-2.0. None: the one that foreign weights state.
      options: Options of foreign weights.

    Raises:
      ConfigError: If there is no model, or no licence, or something else is at `out`.
    """
    path, kind = Path(model), kind_of(Path(model))
    extras: tuple[str, ...] = ()
    if kind == "run":
        encoder = load_run(path)
        tree, origin, extras = _of_run(path, encoder), (read_initial(path) or {}).get("origin"), _extras(path)
    else:
        found = read_directory(path) if kind == "converted" else convert(path, options)
        encoder, origin = found.encoder, found.origin
        tree = description(found) | {"export": {}}
    licence = _licence(licence, origin, model)
    summary = read_summary(path) if kind == "run" else {}

    def fill(folder: Path) -> None:
        save_weights(folder, encoder.params)
        (folder / CONFIG_FILE).write_text(json.dumps(tree, indent=2) + "\n")
        (folder / CARD_FILE).write_text(card(out.resolve().name, encoder, licence, tree, summary))
        for name in extras:
            shutil.copyfile(path / name, folder / name)

    write_folder(out, fill)
    return encoder


def _of_run(run: Path, encoder: Encoder) -> dict[str, Any]:
    """Return the content of config.json for a run, with what else its encoder needs under `export`."""
    if read_export(run) is not None:
        raise ConfigError(f"{run} was exported before; copy the folder")
    tree = json.loads((run / CONFIG_FILE).read_text())
    from_tree({name: value for name, value in tree.items() if name not in ("format", "sample_shape")})
    tree["data"]["source"] = _last_part(tree["data"]["source"])
    tree["data"]["probe_source"] = _last_part(tree["data"].get("probe_source", ""))
    tree["init_from"] = tree.get("init_from") and _last_part(tree["init_from"])
    step = result_step(run)
    recipe = encoder.preprocessing
    return tree | {
        "export": {
            "step": step,
            "mixture": read_mixture(run, step),
            "preprocessing": recipe and recipe.to_dict(),
        }
    }


def _extras(run: Path) -> tuple[str, ...]:
    """Return the files of a run that scoring reads beside the weights."""
    measured = json.loads((run / CONFIG_FILE).read_text()).get("density", {}).get("law", "assumed") != "assumed"
    names = (STATISTICS_FILE, EMBEDDINGS_FILE) if measured else (STATISTICS_FILE,)
    return tuple(name for name in names if (run / name).is_file())


def _last_part(name: str) -> str:
    return Path(name).name if "/" in name and not name.startswith("tfds:") else name


def _licence(named: str | None, origin: dict[str, Any] | None, model: str) -> str:
    """Return the identifier of the licence that was named, or that foreign weights state.

    Raises:
      ConfigError: If there is none.
    """
    if named is None:
        stated = STATED.search(str((origin or {}).get("licence", "")))
        if stated is None:
            raise ConfigError(f"{model} states no licence, which a card needs; name it: --license apache-2.0")
        return stated[1]
    if not IDENTIFIER.fullmatch(named):
        raise ConfigError(f"--license is {named!r}; it is one word, such as apache-2.0, mit or cc-by-nc-4.0")
    return named.lower()
