"""Random views of images: each step against its closed form, and the whole over many keys."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from jepa_jax.views import Augmentation, augment, colours, multi_crop, sample_keys
from jepa_jax.views.blur import blur
from jepa_jax.views.crops import Box, crop, mirror, random_box
from tests.helpers.pictures import keys, picture

PLAIN = Augmentation(12, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0, jitter=0, grey=0)


ALL = Augmentation(12, grey=0.3, blur=0.5, solarize=0.3, hue=0.5, brightness=0.9, contrast=0.9, saturation=0.9)


TINT = Augmentation(12, scale=(0.3, 0.3), brightness=0, contrast=0, saturation=0, hue=0)  # only moves and mirrors


def views(recipe: Augmentation, image: jax.Array, count: int, seed: int = 0) -> np.ndarray:
    """Of one image, [count, S, S, C]."""
    draw = jax.jit(jax.vmap(lambda key: augment(key, image, recipe)))
    return np.asarray(draw(keys(count, seed)))


def boxes(count: int, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Columns top, left, height, width."""
    draw = jax.jit(jax.vmap(lambda key: random_box(key, height, width, scale, ratio)))
    return np.stack(draw(keys(count)), 1)


def cut(image: jax.Array, box: tuple[int, ...], size: int) -> np.ndarray:
    return np.asarray(jax.jit(crop, static_argnums=2)(image, Box(*map(jnp.int32, box)), size))


# Crops.


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 20, 30), 12),  # all of it, squeezed by two factors
        ((3, 5, 12, 12), 12),  # not resized
        ((2, 4, 5, 7), 12),  # enlarged
        ((0, 26, 20, 4), 12),  # one way each
        ((19, 29, 1, 1), 12),  # one pixel
        ((1, 2, 18, 27), 1),  # to one pixel
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_what_pillow_cuts_out_and_resizes(box: tuple[int, ...], size: int, channels: int) -> None:
    image = picture(20, 30, channels)
    top, left, height, width = box
    inner = np.asarray(image)[top : top + height, left : left + width]
    planes = [Image.fromarray(np.ascontiguousarray(inner[:, :, c])) for c in range(channels)]
    true = np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR)) for p in planes], -1)
    np.testing.assert_allclose(cut(image, box, size), true, atol=1e-5)


def test_the_whole_image_is_itself() -> None:
    image = picture(12, 12)
    np.testing.assert_array_equal(cut(image, (0, 0, 12, 12), 12), image)
    for view in views(PLAIN, image, 5):
        np.testing.assert_array_equal(view, image)


@pytest.mark.parametrize("box", [(4, 7, 32, 32), (10, 11, 8, 8), (4, 7, 16, 5)])
def test_a_ramp_stays_a_ramp(box: tuple[int, ...]) -> None:
    """Exactly where it is enlarged or shrunk by a whole factor; other triangles lie unevenly between the pixels."""
    rows, columns = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    ramp = jnp.asarray((0.3 + 0.01 * columns + 0.005 * rows)[:, :, None], jnp.float32)
    view = cut(ramp, box, 16)[2:-2, 2:-2, 0]  # at the border there are pixels on one side only
    down, across = ((np.arange(2, 14) + 0.5) * length / 16 - 0.5 for length in box[2:])
    true = 0.3 + 0.01 * (box[1] + across)[None, :] + 0.005 * (box[0] + down)[:, None]
    np.testing.assert_allclose(view, true, atol=1e-6)


def test_boxes_have_the_area_the_ratio_and_the_places_asked_for() -> None:
    """The largest fits, so that nothing is drawn again: the laws are exact up to rounding to pixels."""
    top, left, height, width = boxes(4000, 400, 500, (0.1, 0.5), (0.7, 1.5)).T
    area = height * width / (400 * 500)
    assert stats.kstest(area, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    log_ratio = np.log(width / height)
    assert stats.kstest(log_ratio, stats.uniform(math.log(0.7), math.log(1.5 / 0.7)).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(area, log_ratio)[0, 1]) < 0.06
    for start, length, whole in ((top, height, 400), (left, width, 500)):
        assert (start >= 0).all()
        assert (start + length <= whole).all()
        assert stats.kstest((start + 0.5) / (whole - length + 1), "uniform").pvalue > 1e-3
    places = boxes(500, 8, 9, (0.5, 0.5), (1.0, 1.0))[:, :2]
    assert {tuple(place) for place in places.tolist()} == {(top, left) for top in range(3) for left in range(4)}


def one_by_one(rng: np.random.Generator, height: int, width: int) -> tuple[int, int]:
    """Height and width of torchvision's box with its default ranges, as its documentation says."""
    for _ in range(10):
        area, ratio = height * width * rng.uniform(0.08, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return h, w
    return (height, round(height * 4 / 3)) if width / height > 4 / 3 else (height, width)


@pytest.mark.parametrize("shape", [(96, 96), (96, 160)])
def test_boxes_that_do_not_fit_are_drawn_again(shape: tuple[int, int]) -> None:
    ours = boxes(3000, *shape, (0.08, 1.0), (3 / 4, 4 / 3))[:, 2:]
    rng = np.random.default_rng(0)
    theirs = np.asarray([one_by_one(rng, *shape) for _ in range(3000)])
    assert (ours >= 1).all()
    assert (ours <= shape).all()
    for statistic in (lambda b: b[:, 0] * b[:, 1], lambda b: b[:, 0] / b[:, 1]):
        assert stats.ks_2samp(statistic(ours), statistic(theirs)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("shape", "ratio", "middle"),
    [
        ((20, 20), (2.0, 4.0), (5, 0, 10, 20)),
        ((20, 20), (0.2, 0.5), (0, 5, 20, 10)),
        ((10, 40), (0.5, 2.0), (0, 10, 10, 20)),
        ((1, 9), (1.0, 1.0), (0, 4, 1, 1)),
    ],
)
def test_what_never_fits_is_the_largest_in_the_middle(
    shape: tuple[int, int], ratio: tuple[float, float], middle: tuple[int, ...]
) -> None:
    assert (boxes(3, *shape, (1.0, 1.0), ratio) == middle).all()


def test_a_mirror_is_its_own_inverse() -> None:
    image = picture(5, 7)
    np.testing.assert_array_equal(mirror(mirror(image)), image)
    np.testing.assert_array_equal(mirror(image), np.asarray(image)[:, ::-1])


# Views.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("values", ["random", "black", "white"])
def test_views_are_finite_colours(channels: int, values: str) -> None:
    image = {"random": picture(20, 26, channels), "black": jnp.zeros((20, 26, channels))}.get(values)
    x = views(ALL, jnp.ones((20, 26, channels)) if image is None else image, 400)
    assert x.shape == (400, 12, 12, channels)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.min() >= 0
    assert x.max() <= 1


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_steps_happen_as_often_as_asked(probability: float) -> None:
    image = 0.5 * picture(12, 12)  # dark, but for one pixel that can be solarized
    image = image.at[0, 0].set(0.9)
    steps = {
        "flip": mirror(image),
        "grey": colours.grey(image),
        "solarize": colours.solarize(image),
    }
    for name, changed in steps.items():
        x = views(replace(PLAIN, **{name: probability}), image, 1000)
        done, left = ((np.abs(x - np.asarray(a)[None]).max((1, 2, 3)) < 1e-6) for a in (changed, image))
        assert (done ^ left).all(), name
        assert abs(done.mean() - probability) < 0.06, name
    for name in ("jitter", "blur"):
        x = views(replace(PLAIN, **{name: probability, "blur_sigma": (1.0, 1.1)}), image, 1000)
        assert abs((np.abs(x - np.asarray(image)[None]).max((1, 2, 3)) > 1e-6).mean() - probability) < 0.06, name


def test_steps_happen_independently() -> None:
    image = picture(12, 12).at[0, 0].set(0.9)
    x = views(replace(PLAIN, flip=0.5, grey=0.5), image, 1000)
    is_grey = (x == x[..., :1]).all((1, 2, 3))
    luma = x @ np.asarray([0.2989, 0.587, 0.114], np.float32)
    true = np.asarray(colours.luma(image))[None, :, :, 0]
    is_flipped = np.abs(luma - true).max((1, 2)) > 1e-2
    assert abs(np.corrcoef(is_grey, is_flipped)[0, 1]) < 0.12


def test_leaving_a_step_out_changes_no_other() -> None:
    image = picture(20, 20)
    both, one = views(TINT, image, 50), views(replace(TINT, jitter=0), image, 50)
    np.testing.assert_array_equal(both, one)
    noisy = views(replace(TINT, noise=0.2), image, 50)
    assert 0.19 < (noisy - both).std() < 0.21  # added to the same views, and not clipped
    assert noisy.min() < 0


def test_the_blur_takes_sigmas_from_its_range() -> None:
    impulse = jnp.zeros((25, 25, 1)).at[12, 12].set(1)
    peaks = views(replace(PLAIN, size=25, blur=1.0, blur_sigma=(0.8, 2.0)), impulse, 500)[:, 12, 12, 0]
    low, high = (float(blur(impulse, sigma, 2.0)[12, 12, 0]) for sigma in (2.0, 0.8))
    assert low - 1e-5 <= peaks.min() < low + 0.002
    assert high - 0.02 < peaks.max() <= high + 1e-5


def test_alone_or_in_a_batch_a_view_is_the_same() -> None:
    recipe = replace(ALL, solarize=0)  # a threshold could tell the last bit
    image = picture(20, 26)
    together = views(recipe, image, 6)
    alone = jax.jit(partial(augment, recipe=recipe))
    for key, view in zip(keys(6), together, strict=True):
        np.testing.assert_allclose(alone(key, image), view, atol=1e-5)
    assert len({view.tobytes() for view in together}) == 6
    np.testing.assert_array_equal(together, views(recipe, image, 6))


def test_several_crops() -> None:
    large, small = Augmentation(12, scale=(0.5, 1.0)), Augmentation(6, scale=(0.05, 0.3), noise=0.1)
    image = picture(16, 16)
    crops = jax.jit(jax.vmap(lambda key, x: multi_crop(key, x, large, 2, small, 4)))
    a, b = crops(keys(3), jnp.stack([image] * 3))
    assert a.shape == (3, 2, 12, 12, 3)
    assert b.shape == (3, 4, 6, 6, 3)
    assert len({view.tobytes() for view in np.asarray(a).reshape(6, -1)}) == 6
    assert len({view.tobytes() for view in np.asarray(b).reshape(12, -1)}) == 12


def test_crops_of_both_kinds_are_drawn_apart(key: jax.Array) -> None:
    recipe = replace(PLAIN, scale=(0.2, 0.9))
    crops = jax.jit(lambda key, x: multi_crop(key, x, recipe, 2, recipe, 2))
    a, b = crops(key, picture(40, 40))
    assert len({view.tobytes() for view in np.concatenate([a, b])}) == 4


@pytest.mark.parametrize(("num_global", "num_local"), [(2, 0), (0, 3)])
def test_one_kind_of_crops(num_global: int, num_local: int, key: jax.Array) -> None:
    recipe = Augmentation(4)
    crops = jax.jit(lambda key, x: multi_crop(key, x, recipe, num_global, recipe, num_local))
    a, b = crops(key, picture(8, 8))
    assert a.shape == (num_global, 4, 4, 3)
    assert b.shape == (num_local, 4, 4, 3)


def test_the_key_of_a_sample_depends_on_the_step_and_its_number_and_not_on_its_place(key: jax.Array) -> None:
    steps = [jax.random.fold_in(key, step) for step in range(3)]
    data = np.array([jax.random.key_data(sample_keys(step, jnp.arange(4))) for step in steps])
    assert len(np.unique(data.reshape(12, -1), axis=0)) == 12
    other = jax.random.key_data(jax.jit(sample_keys)(steps[1], jnp.array([3, 0])))
    np.testing.assert_array_equal(other, data[1, [3, 0]])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": 0}, "size 0"),
        ({"scale": (0.0, 1.0)}, r"scale \(0.0, 1.0\)"),
        ({"scale": (0.5, 0.2)}, "scale"),
        ({"ratio": (1.0, 0.5)}, "ratio"),
        ({"flip": 1.5, "grey": -0.1}, "flip 1.5, grey -0.1"),
        ({"hue": 0.6}, "hue 0.6"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"noise": -1.0}, "noise -1.0"),
        ({"brightness": math.nan}, "brightness nan"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_one_line(fields: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        Augmentation(**{"size": 8, **fields})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", [jnp.zeros((8, 8)), jnp.zeros((8, 8, 4)), jnp.zeros((8, 8, 3), jnp.uint8)])
def test_what_is_no_image_is_refused(image: jax.Array, key: jax.Array) -> None:
    with pytest.raises(ValueError, match="an image must be floating point"):
        augment(key, image, PLAIN)


def test_a_recipe_is_static() -> None:
    assert hash(Augmentation(8)) == hash(Augmentation(8))
    view = jax.jit(augment, static_argnames="recipe")(jax.random.key(0), picture(9, 9), recipe=Augmentation(8))
    assert view.shape == (8, 8, 3)
