"""The encoder object: a pytree that is a function of one sample."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jepa_jax import config as cfg
from jepa_jax.encoder import Encoder
from jepa_jax.images.preprocessing import Preprocessing, squashed
from jepa_jax.models import build


def make(shape, key=None):
    model = build(cfg.MLP(widths=(8,), dim=4), shape, "free")
    return Encoder(model.init(jax.random.key(0)), model.apply, shape, model.dim)


def test_it_goes_into_transformations():
    encoder, x = make((3,)), jnp.array([0.1, 0.2, 0.3])
    assert encoder(x).shape == (4,)
    assert jax.jacrev(encoder)(x).shape == (4, 3)
    np.testing.assert_allclose(jax.jit(jax.vmap(encoder))(x[None])[0], encoder(x), rtol=1e-6)
    doubled = jax.tree.map(lambda a: 2 * a, encoder)
    assert isinstance(doubled, Encoder)
    assert not np.allclose(doubled(x), encoder(x))


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="one sample of shape \\[3\\]"):
        make((3,))(jnp.zeros((2, 3)))


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 6, 3)])
@pytest.mark.parametrize("size", [(8, 6), (40, 33)])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_preprocess(shape, size, channels):
    image = np.full((*size, *channels), 51, np.uint8)
    x = make(shape).preprocess(image)
    assert x.shape == shape
    np.testing.assert_allclose(x, 0.2, atol=1 / 255)  # a flat image stays flat


def test_preprocess_keeps_an_image_of_the_right_size():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(make((8, 8, 3)).preprocess(image), image.astype(np.float32) / 255)


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8)])
def test_preprocess_refuses_what_is_no_image(image):
    with pytest.raises(ValueError, match="uint8"):
        make((8, 8, 1)).preprocess(image)
    with pytest.raises(ValueError, match="not images"):
        make((3,)).preprocess(image)


def test_an_encoder_with_its_own_recipe():
    recipe = Preprocessing((8, 8), 10, mean=(0.5,) * 3, std=(0.2,) * 3)
    encoder = dataclasses.replace(make((8, 8, 3)), preprocessing=recipe)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    x = encoder.preprocess(image)
    np.testing.assert_array_equal(x, recipe(image))
    np.testing.assert_array_equal(x, encoder.preprocess(Image.fromarray(image)))
    assert jax.jit(lambda encoder, x: encoder(x))(encoder, x).shape == (4,)
    assert jax.tree.map(lambda a: a, encoder).picture_preprocessing == recipe


def test_the_recipe_of_an_encoder_without_one():
    assert make((8, 6, 1)).picture_preprocessing == squashed((8, 6, 1))
    assert make((8, 6, 3)).picture_preprocessing == squashed((8, 6, 3))
    assert make((8, 6, 2)).picture_preprocessing is make((3,)).picture_preprocessing is None
