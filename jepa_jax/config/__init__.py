"""Description of a training run: frozen dataclasses that check themselves. Needs the standard library only.

The docstring under each field is its `--help` text. `None` means "the default that fits", and says which. A section of
several kinds (`encoder`, `recipe`, `views`, `recipe.mask`) is a union of dataclasses, told apart by their `kind`.
"""

from jepa_jax.config.data import Crops, Data, Noise, Views
from jepa_jax.config.encoders import MLP, Conv, Encoder, ViT
from jepa_jax.config.recipes import Blocks, Distill, Mask, Masked, Multiview, Pair, Recipe
from jepa_jax.config.run import Checkpoints, Config, Mesh, Monitor, Objective, Optim

__all__ = [
    "MLP",
    "Blocks",
    "Checkpoints",
    "Config",
    "Conv",
    "Crops",
    "Data",
    "Distill",
    "Encoder",
    "Mask",
    "Masked",
    "Mesh",
    "Monitor",
    "Multiview",
    "Noise",
    "Objective",
    "Optim",
    "Pair",
    "Recipe",
    "ViT",
    "Views",
]
