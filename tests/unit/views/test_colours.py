"""Colours and blur of views, against colorsys, Pillow and convolutions."""

import colorsys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from jepa_jax.views import colours
from jepa_jax.views.blur import blur
from tests.helpers.pictures import keys, picture


def by_pixel(change: Callable[..., tuple[float, ...]], image: jax.Array) -> np.ndarray:
    return np.asarray([[change(*map(float, pixel)) for pixel in row] for row in np.asarray(image)])


@pytest.mark.parametrize("turn", [-0.5, -0.31, 0.0, 0.1, 1 / 3, 0.5])
def test_hue_is_that_of_hsv(turn: float) -> None:
    corners = np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 3, indexing="ij"), -1).reshape(3, 9, 3)  # greys and ties too
    image = jnp.concatenate([picture(3, 20), jnp.asarray(corners, jnp.float32)], axis=1)

    def turned(r: float, g: float, b: float) -> tuple[float, ...]:
        h, s, v = colorsys.rgb_to_hsv(r, g, b)
        return colorsys.hsv_to_rgb((h + turn) % 1, s, v)

    np.testing.assert_allclose(colours.hue(image, turn), by_pixel(turned, image), atol=2e-6)


def test_a_third_of_the_circle_exchanges_the_channels() -> None:
    image = picture(4, 4)
    np.testing.assert_allclose(colours.hue(image, 1 / 3), jnp.roll(image, 1, axis=-1), atol=1e-6)


def test_grey_is_torchvisions_luma_in_every_channel() -> None:
    image = picture(4, 5)
    grey = np.asarray(colours.grey(image))
    assert (grey == grey[:, :, :1]).all()
    np.testing.assert_allclose(grey[:, :, 0], np.asarray(image) @ [0.2989, 0.587, 0.114], rtol=1e-6)
    np.testing.assert_array_equal(colours.grey(image[:, :, :1]), image[:, :, :1])


@pytest.mark.parametrize("channels", [1, 3])
def test_factors_blend(channels: int) -> None:
    image = picture(6, 5, channels)
    x = np.asarray(image)
    luma = x @ [0.2989, 0.587, 0.114] if channels == 3 else x[:, :, 0]
    ends = {
        colours.brightness: np.zeros_like(x),
        colours.contrast: np.full_like(x, luma.mean()),
        colours.saturation: np.repeat(luma[:, :, None], channels, 2),
    }
    for change, end in ends.items():
        np.testing.assert_allclose(change(image, 0.0), end, atol=1e-6)
        np.testing.assert_array_equal(change(image, 1.0), image)
        for factor in (0.6, 1.7):
            true = np.clip(factor * x + (1 - factor) * end, 0, 1)
            np.testing.assert_allclose(change(image, factor), true, atol=1e-6)


def test_solarize() -> None:
    x = jnp.asarray([0.0, 0.25, 0.5, 0.75, 1.0])[None, :, None]
    np.testing.assert_array_equal(colours.solarize(x)[0, :, 0], [0.0, 0.25, 0.5, 0.25, 0.0])
    np.testing.assert_array_equal(colours.solarize(x, 0.25)[0, :, 0], [0.0, 0.75, 0.5, 0.25, 0.0])


@pytest.mark.parametrize(
    ("amounts", "change", "low", "high"),
    [
        ((0.4, 0, 0, 0), colours.brightness, 0.6, 1.4),
        ((0, 0.3, 0, 0), colours.contrast, 0.7, 1.3),
        ((0, 0, 1.5, 0), colours.saturation, 0.0, 2.5),
        ((0, 0, 0, 0.2), colours.hue, -0.2, 0.2),
    ],
)
def test_each_jitter_is_uniform_in_its_range(
    amounts: tuple[float, ...], change: Callable[..., jax.Array], low: float, high: float
) -> None:
    image = 0.3 + 0.4 * picture(2, 2)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: colours.jitter(key, image, amounts)))(keys(500)))
    by = jnp.linspace(low, high, 401)
    known = np.asarray(jax.vmap(lambda by: change(image, by))(by))
    distance = np.abs(drawn[:, None] - known[None]).max((2, 3, 4))
    assert distance.min(1).max() < 0.01
    found = np.asarray(by)[distance.argmin(1)]
    assert stats.kstest(found, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_the_jitter_comes_in_either_order() -> None:
    def drawn(image: jax.Array, *amounts: float) -> np.ndarray:
        draw = jax.jit(jax.vmap(lambda key: colours.jitter(key, image, amounts)))
        return np.asarray(draw(keys(400)))[:, 0, :, 0]

    # Nothing is clipped of these two pixels, so that the factors can be read off; of the others, order tells.
    mild, harsh = (jnp.asarray(x, jnp.float32)[None, :, None] for x in ([0.45, 0.55], [0.2, 0.9]))
    bright = drawn(mild, 0.5, 0, 0, 0)[:, 0] / 0.45
    contrasts = drawn(mild, 0, 0.5, 0, 0) @ np.asarray([-10, 10], np.float32)
    one = jax.vmap(lambda b, c: colours.contrast(colours.brightness(harsh, b), c))(bright, contrasts)[:, 0, :, 0]
    two = jax.vmap(lambda b, c: colours.brightness(colours.contrast(harsh, c), b))(bright, contrasts)[:, 0, :, 0]
    both = drawn(harsh, 0.5, 0.5, 0, 0)
    is_one, is_two = (np.abs(both - np.asarray(order)).max(1) < 1e-4 for order in (one, two))
    assert (is_one | is_two).all()
    told = is_one ^ is_two
    assert told.sum() > 100
    assert 0.35 < is_one[told].mean() < 0.65


def test_a_blur_is_a_convolution_that_repeats_the_edge() -> None:
    image = picture(9, 17)
    for sigma in (0.1, 0.7, 2.0):
        ours = np.asarray(jax.jit(blur, static_argnums=2)(image, sigma, 2.0))
        true = ndimage.gaussian_filter(np.asarray(image, np.float64), (sigma, sigma, 0), mode="nearest", radius=6)
        np.testing.assert_allclose(ours, true, atol=1e-6)


def test_a_blurred_impulse_is_the_gaussian_and_a_constant_itself() -> None:
    impulse = jnp.zeros((31, 31, 1)).at[15, 15].set(1)
    offset = np.arange(31) - 15
    taps = np.exp(-0.5 * (offset / 1.5) ** 2) * (abs(offset) <= 6)
    taps /= taps.sum()
    np.testing.assert_allclose(blur(impulse, 1.5, 2.0)[:, :, 0], np.outer(taps, taps), atol=1e-7)
    np.testing.assert_allclose(blur(jnp.full((4, 31, 3), 0.7), 1.5, 2.0), 0.7, atol=1e-6)
    assert blur(picture(1, 1), 1.5, 2.0).shape == (1, 1, 3)  # smaller than the taps reach
