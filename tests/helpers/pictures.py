"""Random pictures and keys, and a folder of pictures with something wrong in it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

COLOURS = {"clay": (190, 110, 80), "leaf": (90, 160, 90), "sky": (110, 150, 210)}


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random((height, width, channels), np.float32))


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def landscape(colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """Return a picture of soft spots around a colour."""
    spots = np.asarray(colour) + rng.normal(0, 28, (4, 4, 1)) + rng.normal(0, 9, (4, 4, 3))
    return Image.fromarray(spots.clip(0, 255).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)


def planted_folder(folder: Path, each: int = 100) -> dict[str, str]:
    """Write pictures of three classes, with a blank one, one in the wrong class, and a copy that was saved again.

    Returns:
      The ids of the three.
    """
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            landscape(colour, rng).save(folder / name / f"{i:03}.png")
    Image.new("RGB", (32, 32), (255, 255, 255)).save(folder / "leaf" / "blank.png")
    landscape(COLOURS["sky"], rng).save(folder / "clay" / "wrong.png")
    Image.open(folder / "sky" / "017.png").save(folder / "sky" / "saved again.jpg", quality=95)
    return {"odd": "leaf/blank.png", "doubtful": "clay/wrong.png", "copies": "sky/saved again.jpg"}
