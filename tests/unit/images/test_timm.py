"""Recipes of timm and of open_clip; `tests/parity/test_timm.py` compares their results with timm's."""

from typing import Any

import numpy as np
import pytest

from jepa_jax.errors import ConfigError
from jepa_jax.images.timm import CLIP_STATISTICS, from_open_clip, from_timm

SQUARE = {"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SQUARE, {"size": (224, 224), "resize": 248, "cover": False, "resample": "bicubic"}),
        ({}, {"size": (224, 224), "resize": 256, "mean": (0.485, 0.456, 0.406)}),
        ({**SQUARE, "crop_mode": "squash"}, {"resize": (248, 248), "cover": False}),
        ({**SQUARE, "input_size": [3, 224, 448]}, {"size": (224, 448), "resize": (248, 497), "cover": True}),
        ({"input_size": [3, 518, 518], "crop_pct": 1.0}, {"size": (518, 518), "resize": 518}),
        ({**SQUARE, "mean": [0.5] * 3, "std": [0.5] * 3}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
    ],
)
def test_a_recipe_of_timm(config: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = from_timm(config)
    assert {name: getattr(recipe, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("config", "channels", "message"),
    [
        ({"input_size": [224, 224]}, 3, "input_size"),
        ({"input_size": "3x224"}, 3, "input_size"),
        ({"input_size": [3, 224, 0]}, 3, "here: .*size"),
        ({"crop_pct": -1}, 3, "crop_pct"),
        ({"crop_mode": "border"}, 3, "crop_mode 'border'"),
        ({"interpolation": "random"}, 3, "interpolation 'random'"),
        ({"std": [0.5, 0.5, 0]}, 3, "std"),
        ({"mean": "grey"}, 3, "mean 'grey'"),
    ],
)
def test_what_cannot_be_followed(config: dict[str, Any], channels: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_timm(config, "here", channels)


def test_a_recipe_of_open_clip() -> None:
    recipe = from_open_clip({"mean": [0.5] * 3, "resize_mode": "squash", "interpolation": "bilinear"}, (28, 42))
    assert (recipe.size, recipe.resize, recipe.cover, recipe.resample) == ((28, 42), (28, 42), False, "bilinear")
    assert from_open_clip({}, (28, 28)).resize == 28
    assert from_open_clip({}, (28, 42)).cover
    with pytest.raises(ConfigError, match="here has mean of 1 channels, and the weights take images of 3"):
        from_open_clip({"mean": [0.5]}, (28, 28), "here")
    np.testing.assert_allclose(from_open_clip({}, (28, 28), channels=1).mean, np.mean(CLIP_STATISTICS[0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_takes_the_mean_of_numbers_of_other_channels(channels: int) -> None:
    recipe = from_timm({"mean": [0.25, 0.75], "std": [0.5]}, channels=channels)
    assert (recipe.mean, recipe.std) == ((0.5,) * channels, (0.5,) * channels)


def test_a_covering_resize_leaves_no_border() -> None:
    """The side that fits worse decides, whatever the shape of the picture."""
    recipe = from_timm({"input_size": [3, 20, 40], "crop_pct": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3})
    for size in ((50, 50), (10, 90), (90, 10), (21, 40)):
        assert (recipe(np.full(size, 255, np.uint8)) == 1).all()
