"""Pictures brought to one shape and number of channels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax.data.streaming import read_some
from jepa_jax.images import centre_square
from jepa_jax.images import fit as fit_image


def fit(image: np.ndarray, side: int | None, channels: int) -> np.ndarray:
    """As a stream brings its images to a square."""
    return fit_image(image, None if side is None else centre_square(side, channels), channels)


NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


@pytest.mark.parametrize("scale", [1, np.float32(1 / 255)])
@pytest.mark.parametrize("transposed", [False, True])
def test_fit_takes_the_square_in_the_centre(scale: Any, transposed: bool) -> None:
    image = (NOISE.transpose(1, 0, 2) if transposed else NOISE) * scale
    square = image[:, 5:35] if transposed else image[5:35]
    np.testing.assert_array_equal(fit(image, 30, 3), square)
    # Down to 10 pixels: antialiased, so that each is about the mean of the nine it covers, and the noise is gone.
    small = fit(image, 10, 3)
    assert (small.dtype, small.shape) == (image.dtype, (10, 10, 3))
    means = square.reshape(10, 3, 10, 3, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > 0.8
    assert small.std() < 0.5 * square.std()
    np.testing.assert_allclose(small.mean(), square.mean(), rtol=0.02)


def test_fit_bytes_and_floats_alike() -> None:
    for channels, side in ((3, 17), (1, 17), (1, None)):
        of_bytes, of_floats = fit(NOISE, side, channels), fit(NOISE.astype(np.float32), side, channels)
        assert of_floats.dtype == np.float32
        np.testing.assert_allclose(of_bytes, np.clip(of_floats, 0, 255), atol=2.01)  # rounded, once or twice


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_colours(kind: type) -> None:
    grey = NOISE[:, :, :1].astype(kind)
    out = fit(grey, None, 3)
    np.testing.assert_array_equal(out, np.repeat(grey, 3, axis=2).astype(out.dtype))
    np.testing.assert_allclose(fit(out, None, 1), grey, rtol=1e-6)
    assert fit(np.zeros((5, 4, 7), kind), None, 7).shape == (5, 4, 7)


def test_colours_of_pictures(tmp_path: Path) -> None:
    for name, mode, colour in (("a", "L", 200), ("b", "RGB", (255, 0, 0)), ("c", "RGBA", (0, 0, 255, 0))):
        Image.new(mode, (4, 4), colour).save(tmp_path / f"{name}.png")
    colours = read_some(str(tmp_path), 3, size=None)["x"]
    assert colours[:, 0, 0].tolist() == [[200] * 3, [255, 0, 0], [0, 0, 255]]
    assert read_some(str(tmp_path), 3, size=None, channels=1)["x"][:, 0, 0].tolist() == [[200], [76], [29]]


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.int32), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 4))])
def test_what_does_not_fit(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"numbers of type int32|channels, which cannot be converted to 3"):
        fit(image, None, 3)
