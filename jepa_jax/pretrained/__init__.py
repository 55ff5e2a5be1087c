"""Foreign weights, trained elsewhere: I-JEPA, DINOv2, MetaCLIP, and plain vision transformers."""

from jepa_jax.pretrained.convert import Converted, convert
from jepa_jax.pretrained.directory import load_directory, read_directory, write
from jepa_jax.pretrained.family import Options
from jepa_jax.pretrained.reading import open_weights

__all__ = ["Converted", "Options", "convert", "load_directory", "open_weights", "read_directory", "write"]
