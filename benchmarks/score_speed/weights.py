"""Random weights of the models, as nested dicts of float32 arrays that all contestants read."""

import itertools
from typing import Any

import numpy as np

from benchmarks.score_speed.cases import TOY_WIDTHS


def random_mlp(rng: np.random.Generator) -> dict[str, Any]:
    """Return weights for the encoder of the config mixture_2d."""
    layers = {}
    for i, (a, b) in enumerate(itertools.pairwise(TOY_WIDTHS)):
        layers[f"dense_{i}"] = {"kernel": normal(rng, (a, b), (2 / a) ** 0.5), "bias": normal(rng, (b,), 0.1)}
    fixed = {"mean": np.zeros(2, np.float32), "scale": np.ones(2, np.float32)}
    return {"network": {"network": layers}, "input": fixed}


def random_vit(
    rng: np.random.Generator, image_size: int, patch_size: int, width: int, depth: int, heads: int
) -> dict[str, Any]:
    """Return weights for a ViT of these sizes.

    The scale of the last norm spans three decades, so that the Jacobian's spectrum spans more.
    """
    del heads
    patch = 3 * patch_size**2

    def layer(rows: int, columns: int) -> dict[str, np.ndarray]:
        kernel = normal(rng, (depth, rows, columns), rows**-0.5)
        return {"kernel": kernel, "bias": normal(rng, (depth, columns), 0.1)}

    def norm() -> dict[str, np.ndarray]:
        return {"scale": 1 + normal(rng, (depth, width), 0.1), "bias": normal(rng, (depth, width), 0.1)}

    return {
        "patch": {"kernel": normal(rng, (patch, width), patch**-0.5), "bias": normal(rng, (width,), 0.1)},
        "class_token": normal(rng, (1, width), 1.0),
        "positions": normal(rng, (1 + (image_size // patch_size) ** 2, width), 0.5),
        "blocks": {
            "norm1": norm(),
            "qkv": layer(width, 3 * width),
            "proj": layer(width, width),
            "norm2": norm(),
            "fc1": layer(width, 4 * width),
            "fc2": layer(4 * width, width),
        },
        "norm": {"scale": np.geomspace(30.0, 0.03, width, dtype=np.float32), "bias": normal(rng, (width,), 0.1)},
    }


def normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Return Gaussian samples with this standard deviation in float32."""
    return np.float32(scale) * rng.standard_normal(shape, np.float32)
