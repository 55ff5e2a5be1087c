"""Whether the encoder was trained on the samples that are scored: by path, by containment, and by content."""

import hashlib
import os
from pathlib import Path
from typing import Literal

import numpy as np

from jepa_jax.config import Config
from jepa_jax.data import LazyImages, Samples, Schema, read_samples, schema_of
from jepa_jax.data.installed import INSTALLED
from jepa_jax.data.tfds import PREFIX
from jepa_jax.errors import ConfigError
from jepa_jax.worlds import WORLDS

Seen = Literal["trained on", "held out", "not known"]
SHOWN = 8  # categories that a sentence lists
MAX_FILES = 20_000  # images whose sizes are compared; only those of equal size are read


def seen(config: Config | None, data: str, samples: Samples) -> Seen:
    """Return whether training has seen the samples, or their file, as far as it can be found out.

    Rows that a run kept out of training at random (`data.holdout`) count as those of its file here. Data whose held-out
    rows have names (`held_out`) are held out if all these rows are.

    Args:
      config: Config of the training; None if the encoder was trained elsewhere.
      data: Data to score, in the syntax of --data.
      samples: The samples.
    """
    if config is None:
        return "not known"
    source = config.data.source
    if source in WORLDS or data in WORLDS:  # a world draws new samples in every step
        return "held out"
    inside: Seen = "trained on" if samples.held_out is None or not samples.held_out.all() else "held out"
    if source == data:
        return inside
    if source.startswith(PREFIX) or data.startswith(PREFIX):
        # Splits may overlap, and a folder may hold images of the dataset.
        return "held out" if source.split(":")[:2] != data.split(":")[:2] and source[:5] == data[:5] else "not known"
    ours, theirs = Path(data).resolve(), Path(source).resolve()
    if ours == theirs:
        return inside
    if ours in theirs.parents or theirs in ours.parents:
        return "trained on"
    if source not in ("digits", *INSTALLED) and not theirs.exists():
        return "not known"
    try:
        return "trained on" if _share_content(data, samples, source, schema_of(config.data)) else "held out"
    except (ConfigError, OSError):
        return "not known"


def _share_content(data: str, samples: Samples, source: str, schema: Schema) -> bool:
    """Return whether any sample is also in the training data."""
    if isinstance(samples.x, LazyImages) != Path(source).is_dir():
        return False
    if not isinstance(samples.x, LazyImages):
        whole = read_samples(source, None, schema=schema)
        known = whole.x if whole.held_out is None else whole.x[~whole.held_out]
        assert not isinstance(known, LazyImages)
        return known.shape[1:] == samples.x.shape[1:] and not _digests(samples.x).isdisjoint(_digests(known))
    known = _files_by_size(Path(source))
    return any(
        not _file_digests(files).isdisjoint(_file_digests(known[size]))
        for size, files in _files_by_size(Path(data)).items()
        if size in known
    )


def _digests(rows: np.ndarray) -> set[bytes]:
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows, np.float32)}


def _files_by_size(folder: Path) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    count = 0
    for parent, _, names in os.walk(folder if folder.is_dir() else folder.parent):
        for name in names:
            if (count := count + 1) > MAX_FILES:
                raise OSError("too many files to compare")
            path = Path(parent, name)
            if folder.is_dir() or path == folder:
                found.setdefault(path.stat().st_size, []).append(path)
    return found


def _file_digests(files: list[Path]) -> set[bytes]:
    return {hashlib.blake2b(path.read_bytes(), digest_size=16).digest() for path in files}


def unseen_categories(config: Config | None, samples: Samples) -> list[str]:
    """Return a sentence for each column with categories that training did not have, whose rows get no score.

    Args:
      config: Config with which the encoder was trained; None if it was trained elsewhere.
      samples: Samples.
    """
    found, x = [], samples.x
    known = getattr(config.encoder, "categories", ()) if config else ()
    for column, count in enumerate(known):
        if not count or isinstance(x, LazyImages):
            continue
        values = x[:, column]
        if bad := int(((values < 0) | (values >= count) | (values != np.round(values))).sum()):
            name = samples.columns[column] if samples.columns else column
            words = [level.removeprefix(f"{name}=") for level in samples.levels if level.startswith(f"{name}=")]
            had = ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
            found.append(
                f"{bad} rows have a category in column {name} that training did not have; it had "
                + (had or f"whole numbers from 0 to {count - 1}")
            )
    return found
