"""Streams of images, opened in few words."""

from typing import Any

import numpy as np
import pytest

from jepa_jax.data.loader import Loader, LoaderOptions
from jepa_jax.data.streaming import open_stream
from jepa_jax.errors import ConfigError


def options(batch_size: int = 6, **changes: Any) -> LoaderOptions:
    return LoaderOptions(**{"batch_size": batch_size, "seed": 0, "size": None, **changes})


def take(batches: Loader, count: int) -> list[np.ndarray]:
    """Indices of the samples in the next `count` batches."""
    return [next(batches)["index"] for _ in range(count)]


def refused(spec: str, o: LoaderOptions, message: str) -> None:
    """Check that opening the stream fails with this message, in one line."""
    with pytest.raises(ConfigError, match=message) as caught:
        open_stream(spec, o)
    assert "\n" not in str(caught.value)
