"""World `sprites` as a dataset of TensorFlow Datasets: images with their latents and their exact density."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jax import Array

from jepa_jax.worlds import WORLDS
from jepa_jax.worlds.sprites import LATENTS

SEED = 20251009  # seed of the dataset, whose samples are the same on every machine, up to float32 rounding
CHUNK_SIZE = 1024  # samples rendered at once


@dataclass
class SpritesConfig(tfds.core.BuilderConfig):
    """Size of the dataset.

    Attributes:
      train: Number of samples in the split `train`.
      test: Number of samples in the split `test`.
    """

    train: int = 0
    test: int = 0


class JepaSprites(tfds.core.GeneratorBasedBuilder):
    """Builder of `tfds:jepa_sprites/full` and `/small`, which `python -m jepa_jax.data.sprites_builder` prepares.

    The images are float32, about 0 .. 2, and not bytes: rounded images would leave the manifold on which the density is
    defined.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 - declared as in TFDS
        SpritesConfig(name="full", description="For training.", train=50_000, test=10_000),
        SpritesConfig(name="small", description="For tests.", train=96, test=32),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(shape=WORLDS["sprites"]().shape, dtype=np.float32),
            "latents": tfds.features.Tensor(shape=(LATENTS,), dtype=np.float32),
            "log_density": tfds.features.Scalar(dtype=np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images of one soft blob, rendered from four Gaussian latents. log_density: exact, in nats, "
            "with respect to the surface measure of the manifold that the images form.",
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, np.ndarray]]]]:
        del dl_manager  # nothing to download
        config = cast(SpritesConfig, self.builder_config)
        key = jax.random.key(SEED)
        return {
            "train": self._generate_examples(jax.random.fold_in(key, 0), config.train),
            "test": self._generate_examples(jax.random.fold_in(key, 1), config.test),
        }

    def _generate_examples(self, key: Array, count: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        world = WORLDS["sprites"]()

        @jax.jit
        @jax.vmap
        def make(number: Array) -> dict[str, Array]:
            state = world.draw(jax.random.fold_in(key, number))
            return {"image": world.render(state), "latents": state, "log_density": world.log_density(state)}

        for start in range(0, count, CHUNK_SIZE):
            made = {name: np.asarray(column) for name, column in make(start + jnp.arange(CHUNK_SIZE)).items()}
            for row in range(min(CHUNK_SIZE, count - start)):
                yield start + row, {name: column[row] for name, column in made.items()}
