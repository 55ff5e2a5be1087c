"""Recipes: their arithmetic, their way through JSON, and what is read off foreign ones."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images.huggingface import from_huggingface
from jepa_jax.images.preprocessing import Preprocessing, squashed

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO = Preprocessing((224, 224), 256, "bicubic", MEAN, STD, source="the paper")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_a_flat_picture_stays_flat(resample: Any) -> None:
    colour = np.array([51, 102, 204], np.uint8)
    flat = np.broadcast_to((np.array([0.2, 0.4, 0.8]) - MEAN) / STD, (6, 5, 3))
    for size, resize in itertools.product([(7, 7), (5, 11), (40, 30), (31, 33)], [6, 9, (8, 6), (20, 20)]):
        x = Preprocessing((6, 5), resize, resample, MEAN, STD)(np.broadcast_to(colour, (*size, 3)))
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, flat, rtol=1e-5, err_msg=f"{size} to {resize}")


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (33, 100), (100, 33), (7, 8), (64, 64), (99, 100)])
def test_the_longer_side_is_truncated(size: tuple[int, int]) -> None:
    x = Preprocessing((99, 99), 25)(np.full(size, 255, np.uint8))  # the rest of the square is black
    rows, columns = x[:, :, 0].any(1).sum(), x[:, :, 0].any(0).sum()
    expected = [25 if n == min(size) else int(25 * n / min(size)) for n in size]
    assert [rows, columns] == [min(99, n) for n in expected]
    assert x.min() == 0
    assert x.max() == 1


@pytest.mark.parametrize("more", range(9))
def test_where_an_odd_number_of_pixels_goes(more: int) -> None:
    picture = np.tile(np.arange(8 + more, dtype=np.uint8)[:, None], (1, 8 + more))  # each row tells its number
    for crop, first in (("round", int(round(more / 2.0))), ("floor", more // 2)):  # noqa: RUF046 as torchvision has it
        x = Preprocessing((8, 8), 8 + more, "nearest", crop=crop)(picture)
        np.testing.assert_array_equal(np.round(255 * x[:, 0, 0]), first + np.arange(8))


@pytest.mark.parametrize("missing", range(5))
def test_a_small_picture_is_padded(missing: int) -> None:
    picture = np.full((8 - missing, 8 - missing), 255, np.uint8)
    first = missing // 2
    for crop in ("round", "floor"):
        x = Preprocessing((8, 8), 8 - missing, "nearest", crop=crop)(picture)
        np.testing.assert_array_equal(np.flatnonzero(x[:, first, 0]), first + np.arange(8 - missing))


def test_arrays_and_pictures_are_one() -> None:
    recipe, colour = replace(DINO, size=(9, 9), resize=10), noise(20, 30, 3)
    np.testing.assert_array_equal(recipe(colour), recipe(Image.fromarray(colour)))
    np.testing.assert_array_equal(recipe(colour[:, :, :1]), recipe(colour[:, :, 0]))
    grey = squashed((9, 9, 1))
    assert grey(colour).shape == (9, 9, 1)
    np.testing.assert_array_equal(grey(colour), grey(Image.fromarray(colour).convert("L")))


def test_what_is_no_picture() -> None:
    for wrong in (np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8)):
        with pytest.raises(ValueError, match="an image is uint8"):
            DINO(wrong)
    with pytest.raises(ValueError, match="too long and thin"):
        DINO(np.zeros((1, 100_000), np.uint8))
    with pytest.raises(ConfigError, match=r"samples of shape \[3\], not images"):
        squashed((3,))


def test_a_result_is_shown_in_its_own_colours() -> None:
    colour = noise(9, 9, 3)
    for recipe in (squashed((9, 9, 3)), Preprocessing((9, 9), (9, 9), mean=MEAN, std=STD)):
        np.testing.assert_array_equal(recipe.as_image(recipe(colour)), colour)
        assert recipe.standardises == any(recipe.mean)
    grey = squashed((9, 9, 1))
    np.testing.assert_array_equal(grey.as_image(grey(colour[:, :, 0])), colour[:, :, 0])


@pytest.mark.parametrize(
    ("recipe", "side", "resize"),
    [
        (DINO, 336, 384),
        (DINO, 98, 112),
        (DINO, 100, 114),  # of 114.29
        (Preprocessing((224, 224), 224), 14, 14),
        (Preprocessing((224, 224), (224, 224)), 448, (448, 448)),
        (Preprocessing((224, 224), (256, 256)), 112, (128, 128)),
        (Preprocessing((30, 40), (30, 40)), 16, (16, 16)),
    ],
)
def test_another_size_keeps_the_proportions(recipe: Preprocessing, side: int, resize: Any) -> None:
    assert recipe.at_size(side) == replace(recipe, size=(side, side), resize=resize)
    assert recipe.at_size(side)(noise(50, 60, 3)).shape == (side, side, 3)


@pytest.mark.parametrize("recipe", [DINO, squashed((8, 6, 1)), squashed((8, 6, 3)), replace(DINO, crop="floor")])
def test_a_recipe_goes_through_json(recipe: Preprocessing) -> None:
    again = Preprocessing.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert hash(again) == hash(recipe)


@pytest.mark.parametrize(
    "damage",
    [
        {"size": [224]},
        {"size": [224, 0]},
        {"size": [224, 2.5]},
        {"size": [10**6, 10**6]},
        {"size": "224"},
        {"size": None},
        {"resize": True},
        {"resize": -1},
        {"resize": {}},
        {"resample": "cubic"},
        {"resample": ["bicubic"]},
        {"mean": [0.5]},
        {"mean": ["a", "b", "c"]},
        {"mean": [float("nan")] * 3},
        {"std": [1, 1, 0]},
        {"std": 1},
        {"channels": 4},
        {"channels": 1},
        {"crop": "ceil"},
        {"source": 3},
        {"colour": "red"},
    ],
)
def test_a_damaged_recipe(damage: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(damage))) as caught:
        Preprocessing.from_dict({**DINO.to_dict(), **damage})
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_none() -> None:
    for tree in (None, [], "bicubic"):
        with pytest.raises(ConfigError, match="object"):
            Preprocessing.from_dict(tree)
    with pytest.raises(ConfigError, match="check size"):
        Preprocessing.from_dict({"resize": 3})


FULL = {
    "do_resize": True, "size": {"shortest_edge": 256}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
    "do_rescale": True, "rescale_factor": 0.00392156862745098,
    "do_normalize": True, "image_mean": list(MEAN), "image_std": list(STD),
    "do_convert_rgb": True, "image_processor_type": "BitImageProcessor", "processor_class": None,
}  # fmt: skip
UNCROPPED = {"do_center_crop": False, "size": {"height": 224, "width": 200}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"crop_size": 224}, {}),
        ({"size": 256}, {}),  # of the days before sizes had names: CLIP's
        ({"size": 256, "default_to_square": True}, {"resize": (256, 256)}),
        ({"size": {"shortest_edge": 256, "longest_edge": None}}, {}),
        (UNCROPPED, {"size": (224, 200), "resize": (224, 200)}),
        ({**UNCROPPED, "size": 224}, {"resize": (224, 224)}),  # and ViT's
        ({"resample": 1}, {"resample": "lanczos"}),
        ({"resample": 2}, {"resample": "bilinear"}),
        ({"resample": 0}, {"resample": "nearest"}),
        ({"resample": 4}, {"resample": "box"}),
        ({"resample": 5}, {"resample": "hamming"}),
        ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"do_rescale": None, "rescale_factor": None}, {}),
        ({"do_rescale": False}, {"mean": tuple(m / 255 for m in MEAN), "std": tuple(s / 255 for s in STD)}),
        ({"rescale_factor": 2 / 255}, {"mean": tuple(m / 2 for m in MEAN), "std": tuple(s / 2 for s in STD)}),
        ({"image_mean": 0.5, "image_std": 0.5}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
    ],
)
def test_a_foreign_recipe(change: dict[str, Any], expected: dict[str, Any]) -> None:
    reference = replace(DINO, crop="floor", source="here")
    found = from_huggingface({**FULL, **change}, "here")
    np.testing.assert_allclose(found.mean, expected.pop("mean", reference.mean), rtol=1e-12)
    np.testing.assert_allclose(found.std, expected.pop("std", reference.std), rtol=1e-12)
    assert found == replace(reference, mean=found.mean, std=found.std, **expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"do_resize": False}, "do_resize"),
        ({"do_center_crop": False}, "do_center_crop"),
        ({"size": None}, "size None"),
        ({"size": {"max_height": 3, "max_width": 4}}, "size {"),
        ({"size": {"shortest_edge": 3, "longest_edge": 4}}, "size {"),
        ({"size": "224"}, "size '224'"),
        ({"size": 0}, "resize 0"),
        ({"crop_size": None}, "crop_size None"),
        ({"crop_size": {"shortest_edge": 3}}, "crop_size"),
        ({"resample": None}, "resample None"),
        ({"resample": 6}, "resample 6"),
        ({"resample": "bicubic"}, "resample 'bicubic'"),
        ({"rescale_factor": 0}, "rescale_factor 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"image_mean": None}, "image_mean None"),
        ({"image_std": [1, 1]}, "image_std"),
        ({"image_std": [1, 1, 0]}, "image_std"),
        ({"do_pad": True}, "do_pad"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order"),
        ({"crop_pct": 0.9}, "crop_pct"),
    ],
)
def test_a_foreign_recipe_that_cannot_be_followed(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_huggingface({**FULL, **change}, "weights/preprocessor_config.json")
    assert says in str(caught.value)
    assert "weights/preprocessor_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="object"):
        from_huggingface([])
