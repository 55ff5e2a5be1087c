"""The grammar of data: one table from a spec, as people type it, to the dataset that it names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jepa_jax.data.arrays import read_arrays, read_digits
from jepa_jax.data.dataset import Dataset
from jepa_jax.data.image_folder import ImageFolder
from jepa_jax.data.tfds import PREFIX, TfdsDataset
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.worlds import WORLDS


class Options(NamedTuple):
    """How a dataset is opened.

    Attributes:
      channels: of images that are decoded: 3 for colours, 1 for grey.
      keep_bytes: keep arrays of uint8 as they are, a quarter of the memory, instead of scaling them to [0, 1].
    """

    channels: int = 3
    keep_bytes: bool = False


class Reader(NamedTuple):
    """One line of the grammar.

    Attributes:
      form: how a spec of this kind is written, for messages.
      accepts: spec -> whether it is of this kind.
      open: (spec, options) -> the dataset.
      streamed: whether its samples are decoded one by one and never held in memory together.
    """

    form: str
    accepts: Callable[[str], bool]
    open: Callable[[str, Options], Dataset]
    streamed: bool = False


READERS = (
    Reader("digits", lambda spec: spec == "digits", lambda spec, options: read_digits()),
    Reader(
        "a TFDS data set tfds:NAME[/CONFIG][:SPLIT]",
        lambda spec: spec.startswith(PREFIX),
        lambda spec, options: TfdsDataset(spec),
        True,
    ),
    Reader(
        "a .npy or .npz",
        lambda spec: Path(spec).suffix in (".npy", ".npz") and not Path(spec).is_dir(),
        lambda spec, options: read_arrays(Path(spec), keep_bytes=options.keep_bytes),
    ),
    Reader(
        "a folder of images",
        lambda spec: bool(spec) and Path(spec).is_dir(),
        lambda spec, options: ImageFolder(Path(spec), options.channels),
        True,
    ),
)


def find_reader(spec: str) -> Reader:
    """The line of the grammar that a spec is of. Worlds, which are no datasets but make samples, come before.

    Raises:
      ConfigError: there is none.
    """
    for reader in READERS:
        if reader.accepts(spec):
            return reader
    if not spec:
        raise ConfigError("this config needs your data: `data.source` FILE.npy, FILE.npz or a folder of images")
    forms = ", ".join(reader.form for reader in READERS)
    raise ConfigError(f"unknown data {spec!r}: not a world, {forms}{nearest(spec, WORLDS)}")


def open_dataset(spec: str, options: Options | None = None) -> Dataset:
    """The dataset that a spec names.

    Raises:
      ConfigError: there is none, or it cannot be read or is empty.
    """
    dataset = find_reader(spec).open(spec, options or Options())
    if not len(dataset):
        raise ConfigError(f"{spec} has no images in it")
    return dataset
