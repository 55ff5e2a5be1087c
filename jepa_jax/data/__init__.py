"""Where samples come from, behind one grammar: worlds, arrays, the digits, folders of images."""

from jepa_jax.data.arrays import Samples, is_held_out, read_arrays
from jepa_jax.data.folder import Images, in_memory, readable
from jepa_jax.data.source import Probe, Source, make_world, open_source, read_samples

__all__ = [
    "Images",
    "Probe",
    "Samples",
    "Source",
    "in_memory",
    "is_held_out",
    "make_world",
    "open_source",
    "read_arrays",
    "read_samples",
    "readable",
]
