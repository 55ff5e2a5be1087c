"""Grammar of data: a table from a spec, as users type it, to the dataset that it names."""

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
    """Options with which a dataset is opened.

    Attributes:
      channels: Channels of decoded images: 3 for colour, 1 for grey.
      keep_bytes: Leave uint8 arrays unchanged, which takes a quarter of the memory, instead of scaling them to [0, 1].
    """

    channels: int = 3
    keep_bytes: bool = False


class Reader(NamedTuple):
    """One line of the grammar.

    Attributes:
      form: Form of a spec of this kind, for messages.
      accepts: Function spec -> whether it is of this kind.
      open: Function (spec, options) -> the dataset.
      streamed: Whether samples are decoded one by one and never all held in memory.
    """

    form: str
    accepts: Callable[[str], bool]
    open: Callable[[str, Options], Dataset]
    streamed: bool = False


READERS = (
    Reader("digits", lambda spec: spec == "digits", lambda spec, options: read_digits()),
    Reader(
        "a TFDS dataset tfds:NAME[/CONFIG][:SPLIT]",
        lambda spec: spec.startswith(PREFIX),
        lambda spec, options: TfdsDataset(spec),
        True,
    ),
    Reader(
        "a .npy or .npz file",
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
    """Return the line of the grammar that accepts a spec.

    Callers check for worlds first, which are not datasets because they generate samples.

    Raises:
      ConfigError: If no line accepts it.
    """
    try:
        for reader in READERS:
            if reader.accepts(spec):
                return reader
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise ConfigError(f"{spec} cannot be read: {error.strerror}") from None
    if not spec:
        raise ConfigError("this config needs your data: `data.source` FILE.npy, FILE.npz or a folder of images")
    forms = ", ".join(reader.form for reader in READERS)
    raise ConfigError(f"unknown data {spec!r}: not a world, {forms}{nearest(spec, WORLDS)}")


def open_dataset(spec: str, options: Options | None = None) -> Dataset:
    """Open the dataset that a spec names.

    Raises:
      ConfigError: If there is no such dataset, or it cannot be read, or it is empty.
    """
    dataset = find_reader(spec).open(spec, options or Options())
    if not len(dataset):
        raise ConfigError(f"{spec} has no images in it")
    return dataset
