"""Samples for an encoder from whatever holds them, as one array that `score_samples` takes."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jepa_jax.config import Data
from jepa_jax.data import as_samples, in_memory, is_dataset, read_samples
from jepa_jax.data.arrow_datasets import ArrowImages, image_column, table_of
from jepa_jax.data.lazy_images import LazyImages
from jepa_jax.encoder import Encoder
from jepa_jax.images import decode


def samples_for(encoder: Encoder, data: Any) -> np.ndarray:
    """Return samples [N, *shape] for an encoder; its preprocessing is applied to pictures.

    Args:
      encoder: Encoder.
      data: Path or name of data, in the grammar of the programs; a dataset of Hugging Face; a DataFrame; an array of
        samples; a Pillow image; or a list of pictures and of paths of pictures.

    Returns:
      float32 [N, *shape]. A picture of a folder or a dataset that cannot be read is NaN.

    Raises:
      ConfigError: If the data cannot be read, are pictures and the encoder takes none, or do not fit in memory.
      ValueError: If a picture of a list cannot be read.
    """
    recipe, enough = encoder.picture_preprocessing, "score a part of them"
    if isinstance(data, str | Path):
        return in_memory(read_samples(str(data), None, preprocessing=recipe).x, "an array", enough)
    if is_dataset(data):
        table = table_of(data)
        if recipe is not None and image_column(table.schema) is not None:
            images = LazyImages(ArrowImages("the dataset", table, recipe.channels), recipe)
            return in_memory(images, "an array", enough)
    if isinstance(data, Image.Image):
        data = [data]
    if isinstance(data, list | tuple) and data and isinstance(data[0], str | Path | Image.Image):
        pictures = (p if isinstance(p, Image.Image) else decode(Path(p), encoder.shape[-1]) for p in data)
        return np.stack([np.asarray(encoder.preprocess(picture)) for picture in pictures])
    return in_memory(as_samples(data, Data()).x, "an array", enough)
