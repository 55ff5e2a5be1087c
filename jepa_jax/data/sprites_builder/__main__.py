"""Program `python -m jepa_jax.data.sprites_builder --data-dir DIR [--config small]`, which prepares the dataset."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds

from jepa_jax.cli import as_flags, parse
from jepa_jax.data.sprites_builder import JepaSprites
from jepa_jax.errors import ConfigError, nearest

DESCRIPTION = "Prepare the sprites with their exact log-density as the dataset tfds:jepa_sprites/CONFIG."


@dataclass(frozen=True)
class Arguments:
    """Arguments of the command line."""

    data_dir: str
    """Directory of TensorFlow Datasets, as in TFDS_DATA_DIR; the data are written to DATA_DIR/jepa_sprites/CONFIG."""
    config: str = "full"
    """`full`: 50,000 samples for training and 10,000 for testing. `small`: few samples, for tests."""


def main(args: list[str]) -> int:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    try:
        a = parse(Arguments, args, prog="python -m jepa_jax.data.sprites_builder", description=DESCRIPTION)
        print(f"prepared: {prepare(a)}")
    except ConfigError as error:
        print(f"error: {as_flags(str(error), Arguments)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 1
    return 0


def prepare(a: Arguments) -> Path:
    """Render the samples, unless they are prepared already.

    Returns:
      Folder of the data.

    Raises:
      ConfigError: If there is no such configuration, or the folder cannot be written.
    """
    if a.config not in JepaSprites.builder_configs:
        raise ConfigError(f"there is no --config {a.config}{nearest(a.config, JepaSprites.builder_configs)}")
    tfds.disable_progress_bar()
    builder = JepaSprites(config=a.config, data_dir=a.data_dir)
    try:
        builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        raise ConfigError(f"cannot write in {a.data_dir}: {error.strerror}; name another --data-dir") from None
    return Path(builder.data_dir)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
