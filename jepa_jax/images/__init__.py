"""Conversion of image files to the arrays that encoders take, with the same resizing in training and scoring."""

from jepa_jax.images.decoding import SUFFIXES, Unreadable, convert, decode
from jepa_jax.images.huggingface import from_huggingface
from jepa_jax.images.preprocessing import Preprocessing, centre_square, fit, recoloured, squashed

__all__ = [
    "SUFFIXES",
    "Preprocessing",
    "Unreadable",
    "centre_square",
    "convert",
    "decode",
    "fit",
    "from_huggingface",
    "recoloured",
    "squashed",
]
