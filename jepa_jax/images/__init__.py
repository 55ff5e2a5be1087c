"""From image files to the arrays that encoders take: the same decoding and the same resize to train and to score."""

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
