"""Made-up samples of the shapes of the data that lie inside installable packages."""

import numpy as np

from jepa_jax.data import Samples

SHAPES = {"bold": (94, 80, 1), "chorales": (72, 16, 1), "diamonds": (9,), "vowels": (24, 24, 1)}


def made_up(name: str, count: int = 100) -> Samples:
    """Random samples in place of those of a package, with all that belongs to them."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((count, *SHAPES[name])).astype(np.float32)
    beside: dict = {"label": np.arange(count) % 3, "held_out": np.arange(count) % 5 == 0}
    if name == "diamonds":
        x[:, :2] = draw.integers(0, 7, (count, 2))
        beside["categories"] = (7, 8, *[0] * 7)
    if name == "chorales":
        voice = np.arange(count) % 4
        beside |= {"pair": x[::-1].copy(), "condition": np.eye(4, dtype=np.float32)[voice], "label": voice}
    if name == "bold":
        beside |= {"row_features": draw.standard_normal((94, 10)), "pair": x[::-1].copy()}
    return Samples(x, name=name, **beside)
