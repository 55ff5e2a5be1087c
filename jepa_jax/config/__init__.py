"""Description of a training run: frozen dataclasses that check their own values, from the standard library only.

The docstring under each field is its `--help` text. `None` stands for a default that depends on the rest of the run;
the docstring says which. A section that exists in several kinds (`encoder`, `recipe`, `views`, `recipe.mask`) is a
union of dataclasses, which are distinguished by their field `kind`.
"""

from jepa_jax.config.automatic import automatic
from jepa_jax.config.data import Crops, Data, Noise, Views
from jepa_jax.config.encoders import MLP, Conv, Encoder, Linear, PretrainedViT, Triangular, ViT
from jepa_jax.config.recipes import Blocks, Cross, Curriculum, Distill, Mask, Masked, Multiview, Pair, Recipe, Windows
from jepa_jax.config.run import Checkpoints, Config, Density, Mesh, Monitor, Objective, Optim

__all__ = [
    "MLP",
    "Blocks",
    "Checkpoints",
    "Config",
    "Conv",
    "Crops",
    "Cross",
    "Curriculum",
    "Data",
    "Density",
    "Distill",
    "Encoder",
    "Linear",
    "Mask",
    "Masked",
    "Mesh",
    "Monitor",
    "Multiview",
    "Noise",
    "Objective",
    "Optim",
    "Pair",
    "PretrainedViT",
    "Recipe",
    "Triangular",
    "ViT",
    "Views",
    "Windows",
    "automatic",
]
