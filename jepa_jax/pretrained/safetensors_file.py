"""Tensors of a .safetensors file.

The library safetensors checks the header: the names, the shapes, and that the tensors follow each other without gaps up
to the end of the file. Its `get_tensor` copies a tensor and needs twice the size of it in memory, so the numbers are
taken from the mapped file instead.
"""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.tensor import DTYPES, Tensor, mapped, tensor

DTYPE_CODES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a file, by name.

    Raises:
      ConfigError: If a tensor has a dtype that is not supported. The library's own exceptions for a damaged file are
        not converted.
    """
    buffer = mapped(path)
    start = 8 + int.from_bytes(buffer[:8], "little")  # the length of the header, the header, the numbers
    found = {}
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():  # in the order of the bytes
            entry = file.get_slice(name)
            code = entry.get_dtype()
            if code not in DTYPE_CODES:
                raise ConfigError(
                    f"tensor {name!r} of {path} is {code}; supported are {', '.join(DTYPE_CODES)}: save it as F32"
                )
            view = np.ndarray(entry.get_shape(), DTYPES[DTYPE_CODES[code]], buffer, start)
            found[name] = tensor(view)
            start += view.nbytes
    return found
