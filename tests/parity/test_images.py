"""Preprocessing against transformers' own image processors. Needs transformers and torch: `make parity`."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from jepa_jax.images.huggingface import from_huggingface

transformers = pytest.importorskip("transformers")

SIZES = [(64, 64), (64, 48), (37, 101), (101, 37), (300, 225), (24, 24), (19, 23), (65, 67), (31, 400)]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PROCESSORS = {
    "CLIP": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}),
    "CLIP 2": (
        "CLIPImageProcessorPil",
        {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}},
    ),
    "DINOv2": (
        "BitImageProcessorPil",
        {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}, **IMAGENET},
    ),
    "I-JEPA": ("ViTImageProcessorPil", {"size": {"height": 32, "width": 28}}),
    "lanczos": ("ViTImageProcessorPil", {"size": {"height": 32, "width": 32}, "resample": 1, "do_normalize": False}),
    "-1 to 1": (
        "ViTImageProcessorPil",
        {
            "size": {"height": 32, "width": 32},
            "rescale_factor": 1 / 127.5,
            "image_mean": [1.0] * 3,
            "image_std": [1.0] * 3,
        },
    ),
    "bytes": ("ViTImageProcessorPil", {"size": {"height": 32, "width": 32}, "do_rescale": False, **IMAGENET}),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_saved_processor_is_followed(name: str, size: tuple[int, int], mode: str) -> None:
    kind, options = PROCESSORS[name]
    processor = getattr(transformers, kind)(**options)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).convert(mode)
    expected = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    recipe = from_huggingface(json.loads(processor.to_json_string()))
    found = recipe(picture)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(20, 25), (25, 20), (20, 20), (21, 28), (20, 33), (40, 20)], ids=str)
@pytest.mark.parametrize("short", [20, 21])
def test_a_picture_smaller_than_the_crop(size: tuple[int, int], short: int) -> None:
    """As in transformers' default class; Pillow's and torchvision's resizing differ, so that none is done here."""
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": min(size)}, crop_size={"height": short + 7, "width": short + 8}
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    expected = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    found = from_huggingface(json.loads(processor.to_json_string()))(picture)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_picture_of_a_jpeg_file() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 99, 3), np.uint8)).save(buffer, "JPEG")
    processor = transformers.CLIPImageProcessorPil()
    with Image.open(buffer) as picture:
        expected = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        found = from_huggingface(processor.to_dict())(picture)
    np.testing.assert_allclose(found, expected, atol=1e-6)
