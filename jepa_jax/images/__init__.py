"""Conversion of image files to the arrays that encoders take, with the same resizing in training and scoring."""

from jepa_jax.images.decoding import Unreadable, convert, decode, pixel_limit
from jepa_jax.images.formats import MARK, MARK_BYTES, SUFFIXES, identified, passed_over
from jepa_jax.images.huggingface import from_huggingface
from jepa_jax.images.preprocessing import Preprocessing, centre_square, fit, recoloured, squashed

__all__ = [
    "MARK",
    "MARK_BYTES",
    "SUFFIXES",
    "Preprocessing",
    "Unreadable",
    "centre_square",
    "convert",
    "decode",
    "fit",
    "from_huggingface",
    "identified",
    "passed_over",
    "pixel_limit",
    "recoloured",
    "squashed",
]
