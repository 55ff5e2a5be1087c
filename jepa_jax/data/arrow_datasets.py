"""Datasets of Hugging Face: folders that `save_to_disk` wrote, and objects in memory, read as Arrow tables.

The library `datasets` is not needed: its files are Arrow streams, whose schema describes images and names of labels.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jepa_jax.errors import ConfigError, first_line
from jepa_jax.images import Unreadable, decode, pixel_limit

STATE_FILE, SPLITS_FILE = "state.json", "dataset_dict.json"  # in the folder of a dataset, and of several splits
IMAGE_FIELDS = {"bytes", "path"}  # of a column of images: the file itself, or its path
LABEL = "label"


class ArrowImages:
    """Images in a column of an Arrow table, with the names of their labels. A `Dataset`.

    Attributes:
      name: Name in messages.
      classes: Number of labels; None without labels.
    """

    in_memory = False

    def __init__(self, name: str, source: Any, channels: int = 3, max_pixels: int | None = None) -> None:
        """Open a table with a column of images.

        Args:
          name: Name in messages.
          source: Folder of a dataset, or an Arrow table.
          channels: 3 to decode to RGB, 1 to decode to grey.
          max_pixels: Maximum number of pixels of an image; None for that of the environment.

        Raises:
          ConfigError: If the folder cannot be read.
        """
        self.name = name
        self._source, self._channels, self._max_pixels = source, channels, pixel_limit(max_pixels)
        self._table = _as_table(source)
        schema = self._table.schema
        self._column = image_column(schema) or ""
        self._labels = LABEL if LABEL in schema.names else None
        self._names = label_names(schema, LABEL)
        self.classes = self._count_labels()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for worker processes, which open the files themselves."""
        return vars(self) | {"_table": None} if isinstance(self._source, Path) else dict(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        vars(self).update(state)
        self._table = _as_table(self._source)

    def path(self, number: int) -> Path | None:
        """Return None: the images have no files of their own."""
        del number

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._table.num_rows

    def id(self, number: int) -> str:
        """Return the number of a row."""
        return str(number)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the picture and the label of a row.

        Raises:
          Unreadable: If the picture cannot be read.
        """
        found = self._table.column(self._column)[number].as_py()
        if not found or not (found["bytes"] or found["path"]):
            raise Unreadable("the image is missing")
        picture = decode(found["bytes"] or Path(found["path"]), self._channels, self._max_pixels)
        return {"x": picture, **({} if self._labels is None else {"label": self._label(number)})}

    def columns(self, count: int) -> dict[str, np.ndarray]:
        """Return the labels of the first rows, [count], by their names if they have names; {} without labels."""
        if self._labels is None:
            return {}
        numbers = [self._label(number) for number in range(count)]
        return {LABEL: np.array([self._names[n] if self._names and n >= 0 else n for n in numbers])}

    def thumbnail(self, number: int) -> Image.Image:
        """Return the whole picture of a row.

        Raises:
          Unreadable: If it cannot be read.
        """
        return self[number]["x"]

    def fingerprint(self, count: int) -> str:
        """Return a digest of the first rows' files, or of the sizes and times of the files of the table."""
        digest = hashlib.sha256(f"{self.name} {len(self)}".encode())
        if isinstance(self._source, Path):
            facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(self._source)]
            digest.update(repr(facts).encode())
        else:
            for row in self._table.column(self._column).slice(0, count):
                digest.update(repr(row.as_py()).encode())
        return digest.hexdigest()

    def _label(self, number: int) -> int:
        value = self._table.column(LABEL)[number].as_py()
        return -1 if value is None else int(value)

    def _count_labels(self) -> int | None:
        if self._names:
            return len(self._names)
        if self._labels is None:
            return None
        values = [value for value in self._table.column(LABEL).to_pylist() if value is not None]
        if not all(isinstance(value, int) for value in values):
            self._labels = None  # text without numbers
            return None
        return max(values, default=-1) + 1 or None


def is_saved(spec: str) -> bool:
    """Return whether a spec names a folder that `save_to_disk` wrote."""
    return any((Path(spec) / name).is_file() for name in (STATE_FILE, SPLITS_FILE)) if spec else False


def is_dataset(x: Any) -> bool:
    """Return whether an object is a dataset of Hugging Face, by its methods."""
    return hasattr(x, "with_format") and hasattr(x, "column_names")


def has_images(spec: str) -> bool:
    """Return whether a saved dataset has a column of images.

    Raises:
      ConfigError: If it cannot be read.
    """
    return image_column(saved_table(Path(spec)).schema) is not None


def table_of(dataset: Any) -> Any:
    """Return the rows of a dataset in memory as an Arrow table.

    Raises:
      ConfigError: If it holds several splits.
    """
    if isinstance(dataset.column_names, dict):
        raise ConfigError(f"the dataset holds the splits {', '.join(dataset.column_names)}; take one of them")
    return dataset.with_format("arrow")[:]


def saved_table(folder: Path) -> Any:
    """Return the rows of a saved dataset as an Arrow table, which is mapped and not read.

    Raises:
      ConfigError: If it holds several splits, was not flattened, or is damaged.
    """
    import pyarrow as pa

    try:
        parts = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in _files(folder)]
        return pa.concat_tables(parts)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise error if isinstance(error, ConfigError) else _damaged(folder, error) from None


def image_column(schema: Any) -> str | None:
    """Return the name of the column of images: `image`, or the first one; None without any."""
    import pyarrow as pa

    types = _features(schema)
    found = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {field.type.field(i).name for i in range(field.type.num_fields)} == IMAGE_FIELDS
        and _type(types.get(field.name)) in (None, "Image")
    ]
    return "image" if "image" in found else found[0] if found else None


def label_names(schema: Any, column: str) -> list[str] | None:
    """Return the names of the labels in a column; None if they have none."""
    feature = _features(schema).get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else None


def named_labels(table: Any) -> Any:
    """Return an Arrow table whose column `label` has names in place of numbers, if the labels have names."""
    import pyarrow as pa

    names = label_names(table.schema, LABEL)
    if not names or LABEL not in table.column_names:
        return table
    known = [names[n] if n is not None and 0 <= n < len(names) else None for n in table.column(LABEL).to_pylist()]
    return table.set_column(table.column_names.index(LABEL), LABEL, pa.array(known, pa.string()))


def _files(folder: Path) -> list[Path]:
    """Return the Arrow files of a saved dataset, in the order of its rows."""
    if (folder / SPLITS_FILE).is_file():
        splits = _json(folder / SPLITS_FILE).get("splits", [])
        if len(splits) != 1:
            raise ConfigError(f"{folder} holds the splits {', '.join(map(str, splits))}; name one: {folder / 'SPLIT'}")
        folder = folder / str(splits[0])
    state = _json(folder / STATE_FILE)
    names = [Path(str(entry["filename"])).name for entry in state.get("_data_files", []) if "filename" in entry]
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ConfigError(f"{folder} holds a choice of rows; save it again after `flatten_indices()`")
    if not names:
        raise ConfigError(f"{folder / STATE_FILE} names no files of data; save the dataset again")
    return [folder / name for name in names]


def _as_table(source: Any) -> Any:
    return saved_table(source) if isinstance(source, Path) else source


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} is damaged: it is no JSON object; save the dataset again")
    return tree


def _damaged(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} cannot be read as a saved dataset: {first_line(error)}; save it again")


def _features(schema: Any) -> dict[str, Any]:
    """Return what the schema says of the columns; {} if nothing."""
    try:
        return dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}


def _type(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None
