"""The tensors of a .safetensors file.

The library checks the header: names, shapes, and that the tensors follow each other without holes up to the end of the
file. Its `get_tensor` copies (twice the tensor's size in memory), so the numbers come from the mapped file instead.
"""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.tensor import DTYPES, Tensor, mapped, tensor

CODES = {
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
    """Every tensor of the file, by name.

    Raises:
      ConfigError: a tensor of a kind that is not read. A damaged file raises what the library raises.
    """
    buffer = mapped(path)
    start = 8 + int.from_bytes(buffer[:8], "little")  # the header's length, the header, the numbers
    found = {}
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():  # in the order of the bytes
            entry = file.get_slice(name)
            code = entry.get_dtype()
            if code not in CODES:
                raise ConfigError(
                    f"tensor {name!r} of {path} is {code}; only {', '.join(CODES)} are read: save it as F32"
                )
            view = np.ndarray(entry.get_shape(), DTYPES[CODES[code]], buffer, start)
            found[name] = tensor(view)
            start += view.nbytes
    return found
