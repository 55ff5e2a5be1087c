"""Grammar of data: a table from a spec, as users type it, to the dataset that it names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jepa_jax.data.arrays import read_arrays, read_digits
from jepa_jax.data.arrow_datasets import ArrowImages, has_images, is_saved, named_labels, saved_table
from jepa_jax.data.dataset import Dataset
from jepa_jax.data.image_folder import ImageFolder, open_image, open_list
from jepa_jax.data.installed import INSTALLED
from jepa_jax.data.tables import Schema, from_arrow, is_table, read_table
from jepa_jax.data.tfds import PREFIX, TfdsDataset
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.images import SUFFIXES, identified
from jepa_jax.worlds import WORLDS


class Options(NamedTuple):
    """Options with which a dataset is opened.

    Attributes:
      channels: Channels of decoded images: 3 for colour, 1 for grey.
      keep_bytes: Leave uint8 arrays unchanged, which takes a quarter of the memory, instead of scaling them to [0, 1].
      max_pixels: Maximum number of pixels of an image file; None for that of the environment.
      schema: Choice of the input among the columns of a table.
    """

    channels: int = 3
    keep_bytes: bool = False
    max_pixels: int | None = None
    schema: Schema = Schema()


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
        f"data of an installed package ({', '.join(INSTALLED)})",
        lambda spec: spec in INSTALLED,
        lambda spec, options: INSTALLED[spec](),
    ),
    Reader(
        "a TFDS dataset tfds:NAME[/CONFIG][:SPLIT]",
        lambda spec: spec.startswith(PREFIX),
        lambda spec, options: TfdsDataset(spec),
        True,
    ),
    Reader(
        "a .npy or .npz file",
        lambda spec: Path(spec).suffix in (".npy", ".npz") and not Path(spec).is_dir(),
        lambda spec, options: read_arrays(Path(spec), keep_bytes=options.keep_bytes, offset=options.schema.offset),
    ),
    Reader(
        "a table FILE.csv, FILE.tsv or FILE.parquet",
        lambda spec: is_table(spec) and not Path(spec).is_dir(),
        lambda spec, options: read_table(Path(spec), options.schema),
    ),
    Reader(
        "a folder of a Hugging Face dataset (save_to_disk)",
        lambda spec: is_saved(spec) and has_images(spec),
        lambda spec, options: ArrowImages(spec, Path(spec), options.channels, options.max_pixels),
        True,
    ),
    Reader(
        "one with columns of numbers",
        is_saved,
        lambda spec, options: from_arrow(named_labels(saved_table(Path(spec))), options.schema, spec),
    ),
    Reader(
        "a folder of images",
        lambda spec: bool(spec) and Path(spec).is_dir(),
        lambda spec, options: ImageFolder(Path(spec), options.channels, max_pixels=options.max_pixels),
        True,
    ),
    Reader(
        "a .txt list of images",
        lambda spec: Path(spec).suffix == ".txt" and Path(spec).is_file(),
        lambda spec, options: open_list(Path(spec), options.channels, options.max_pixels),
        True,
    ),
    Reader(
        "an image",
        lambda spec: Path(spec).suffix.lower() in SUFFIXES or identified(spec),
        lambda spec, options: open_image(Path(spec), options.channels, options.max_pixels),
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
        raise ConfigError("this config needs your data: `data.source` FILE.npy, FILE.csv or a folder of images")
    forms = ", ".join(reader.form for reader in READERS)
    path = Path(spec)
    if path.is_file():
        raise ConfigError(f"unknown data {spec!r}: the file is not a world, {forms}")
    if path.suffix or path.name != spec:
        raise ConfigError(f"unknown data {spec!r}: it does not exist, and it is not a world, {forms}")
    raise ConfigError(f"unknown data {spec!r}: not a world, {forms}{nearest(spec, (*WORLDS, *INSTALLED))}")


def open_dataset(spec: str, options: Options | None = None) -> Dataset:
    """Open the dataset that a spec names.

    Raises:
      ConfigError: If there is no such dataset, or it cannot be read, or it is empty.
    """
    dataset = find_reader(spec).open(spec, options or Options())
    if not len(dataset):
        raise ConfigError(f"{spec} has no images in it")
    return dataset
