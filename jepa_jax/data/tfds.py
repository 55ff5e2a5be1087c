"""Datasets prepared with TensorFlow Datasets, read without TensorFlow."""

import contextlib
import difflib
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jepa_jax.errors import ConfigError, nearest
from jepa_jax.images.decoding import Unreadable

PREFIX = "tfds:"


class TfdsDataset:
    """Split of a prepared dataset, with its features `image`, `label` and `log_density`. A `Dataset`."""

    def __init__(self, spec: str) -> None:
        """Open the split that a spec names: `tfds:NAME[/CONFIG][:SPLIT]`, with `train` as the default split.

        The data are in `~/tensorflow_datasets`, or in the directory that the environment variable TFDS_DATA_DIR names.

        Raises:
          ConfigError: If there is no such dataset, configuration or split, or the dataset is not prepared or has no
            images.
        """
        import tensorflow_datasets as tfds  # imported here, because it takes a second to import

        self.name = spec
        builder_name, _, split = spec.removeprefix(PREFIX).partition(":")
        builder = _find(spec, builder_name)
        features = dict(builder.info.features)
        if "image" not in features:
            raise ConfigError(f"{spec} has no images: no feature is named image among {', '.join(features)}")
        label = features.get("label")
        self.classes = label.num_classes if isinstance(label, tfds.features.ClassLabel) else None
        self._known = [*(["label"] if self.classes else []), *({"log_density"} & features.keys())]
        self._builder, self._split = builder, split or "train"
        self._source = _open(spec, builder, self._split)
        self.in_memory = isinstance(self._source, list)

    def __len__(self) -> int:
        """Return the number of samples in the split."""
        return len(self._source)

    def id(self, number: int) -> str:
        """Return the name of a sample in messages."""
        return f"sample {number}"

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return one sample: `x`, and `label` and `log_density` if the dataset has these features.

        Raises:
          Unreadable: If its image is damaged.
        """
        try:
            sample = self._source[number]
        except Exception as error:  # a damaged image can raise any exception in its decoder
            raise Unreadable(_first_line(error)) from None
        return {"x": sample["image"], **{name: sample[name] for name in self._known}}

    def columns(self, count: int) -> dict[str, np.ndarray]:
        """Return the labels and log-densities of the first `count` samples, [count] each, without decoding images."""
        import tensorflow_datasets as tfds

        if not self._known:
            return {}
        source = self._source
        if not self.in_memory:
            skipped = {"image": tfds.decode.SkipDecoding()}
            source = self._builder.as_data_source(split=self._split, decoders=skipped)
        samples = [source[number] for number in range(count)]
        return {name: np.array([sample[name] for sample in samples]) for name in self._known}

    def path(self, number: int) -> None:
        """Return None: a sample is a record among others in a file."""

    def thumbnail(self, number: int) -> Image.Image:
        """Return the picture of a sample; floating-point pixels are scaled from black (smallest) to white (largest).

        Raises:
          Unreadable: If its image is damaged.
        """
        x = np.atleast_3d(self[number]["x"])
        if x.dtype != np.uint8:
            x = np.round(255 * (x - x.min()) / max(np.ptp(x), 1e-12)).astype(np.uint8)
        return Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)

    def fingerprint(self, count: int) -> str:
        """Return a digest of the name, the version and the size of the split."""
        del count  # a prepared dataset does not change
        info = self._builder.info
        return hashlib.sha256(f"{info.full_name} {self._split} {len(self)}".encode()).hexdigest()


def _find(spec: str, name: str) -> Any:
    """Return the builder of a dataset.

    Raises:
      ConfigError: If there is none with this name or configuration.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    import jepa_jax.data.sprites_builder  # noqa: F401 - registers our own dataset with TFDS

    data_dir = os.environ.get("TFDS_DATA_DIR")
    try:
        with contextlib.suppress(tfds.core.DatasetNotFoundError):
            # Use only the prepared files: the code may need TensorFlow, or a newer version of the data.
            return read_only_builder.builder_from_files(name, data_dir=data_dir)
        return tfds.builder(name, try_gcs=False, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.split("/")[0], known, n=3, cutoff=0)
        raise ConfigError(f"{spec}: TFDS has no dataset of this name; the nearest are {', '.join(close)}") from None
    except Exception as error:  # code of the catalogue can raise any exception
        config, configs = name.partition("/")[2], _configs(name.split("/")[0])
        if config and config not in configs:
            hint = nearest(config, configs) if configs else "; it has none"
            raise ConfigError(f"{spec}: the dataset has no configuration {config!r}{hint}") from None
        raise ConfigError(f"{spec} cannot be opened as tfds:NAME[/CONFIG][:SPLIT]: {_first_line(error)}") from None


def _configs(name: str) -> list[str]:
    import tensorflow_datasets as tfds

    try:
        return list(tfds.builder_cls(name).builder_configs)
    except ValueError:
        return []


def _open(spec: str, builder: Any, split: str) -> Sequence[Any]:
    """Return the samples of a split.

    Raises:
      ConfigError: If the split does not exist, or the data are not prepared for random access.
    """
    import tensorflow_datasets as tfds

    try:
        return builder.as_data_source(split=split)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        reason = error
    if not (builder.data_path / "dataset_info.json").exists():
        raise ConfigError(f"{spec} is not prepared in {builder.data_path}; {_how_to_prepare(builder)}")
    if split.partition("[")[0] not in builder.info.splits and "+" not in split:
        raise ConfigError(f"{spec}: there is no split {split!r}{nearest(split, builder.info.splits)}")
    if isinstance(reason, NotImplementedError):  # tfrecord, which has no random access
        if importlib.util.find_spec("tensorflow") is None:
            raise ConfigError(
                f"{spec} is prepared as {builder.info.file_format.value} in {builder.data_path}, which only TensorFlow "
                f"reads; delete it, then {_how_to_prepare(builder)}"
            )
        return list(tfds.as_numpy(builder.as_dataset(split=split)))
    if "0 length" in str(reason):  # array_record opens no files for an empty split
        return []
    raise ConfigError(f"{spec}: the split {split!r} cannot be read: {_first_line(reason)}")


def _how_to_prepare(builder: Any) -> str:
    from jepa_jax.data.sprites_builder import JepaSprites

    # The data are in root/name/config/version or root/name/version.
    config = builder.builder_config and builder.builder_config.name
    name, root = f"{builder.name}/{config}" if config else builder.name, builder.data_path.parents[2 if config else 1]
    if builder.name == JepaSprites.name:
        return f"prepare it: python -m jepa_jax.data.sprites_builder --data-dir {root} --config {config}"
    return (
        "prepare it, or set TFDS_DATA_DIR to where it is: "
        f'import tensorflow_datasets as tfds; tfds.builder("{name}", data_dir="{root}")'
        '.download_and_prepare(file_format="array_record")'
        " (most datasets need TensorFlow for this, but not for reading)"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
