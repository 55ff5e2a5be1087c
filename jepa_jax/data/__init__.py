"""Where samples come from, behind one grammar: worlds, arrays, the digits, folders of images."""

from jepa_jax.data.arrays import Samples, is_held_out, read_arrays
from jepa_jax.data.folder import Images, in_memory, readable
from jepa_jax.data.grammar import is_stream, open_source, read_samples
from jepa_jax.data.source import Probe, Source
from jepa_jax.data.streamed import pixels
from jepa_jax.data.world_source import make_world

__all__ = [
    "Images",
    "Probe",
    "Samples",
    "Source",
    "in_memory",
    "is_held_out",
    "is_stream",
    "make_world",
    "open_source",
    "pixels",
    "read_arrays",
    "read_samples",
    "readable",
]
