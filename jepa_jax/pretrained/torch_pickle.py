"""Reading of the pickle in a file of torch.save, without torch and without running the code that it names.

A pickle is a program that calls any function by name. Here it may use only the names in `_allowed`, and receives a
placeholder for each of them. Tensors become `View`s, which hold the values in the pickle and are checked where they are
used.
"""

import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from jepa_jax.errors import ConfigError

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

# Names that occur beside the weights in the checkpoints of training scripts; read as an object without content.
IGNORED_GLOBALS = (
    "argparse.Namespace",
    "collections.Counter",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "_codecs.encode",
    "torch.device",
)


class Storage(NamedTuple):
    """Range of numbers in the archive. The fields are not checked."""

    dtype: Any
    key: Any
    count: Any


class View(NamedTuple):
    """Tensor as a view of a storage; offset and stride are in numbers, not bytes. The fields are not checked."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def load(data: bytes, path: Path) -> Any:
    """Return the pickled object, with a `View` in place of each tensor.

    Args:
      data: Pickle.
      path: File that contains it, for the message.

    Raises:
      ConfigError: If the pickle names something that weights do not need. A damaged pickle may raise any exception.
    """
    return _Unpickler(data, path).load()


class _Unpickler(pickle._Unpickler):
    """Unpickler in Python, because the one in C allocates as much memory as a damaged byte requests."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data))
        self.path = path
        self.allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted not in self.allowed:
            raise ConfigError(
                f"{self.path} asks for {dotted[:200]!r}, which plain weights do not need; no code in it was run: "
                "if you trust the file, load it with torch and save its state_dict()"
            )
        return self.allowed[dotted]

    def persistent_load(self, pid: Any) -> Storage:
        _, dtype, key, _, count = pid
        return Storage(dtype, key, count)


def _allowed() -> dict[str, Any]:
    """Return the names that a pickle may use, and the object that it receives for each.

    A pickle can set attributes of these objects, so they are either created for each file or immutable.
    """

    class Mapping(dict):  # a class, because a dict takes no attributes, and a state dict has `_metadata`
        pass

    class Nothing:
        def __init__(self, *args: Any) -> None:
            pass

        def __setstate__(self, state: Any) -> None:
            pass

    # Weights have no seventh argument, which marks conjugated and negated tensors; a tensor with one raises.
    def rebuild(storage: Any, offset: Any, size: Any, stride: Any, gradient: Any = None, hooks: Any = None) -> View:
        return View(storage, offset, size, stride)

    def parameter(data: Any, *rest: Any) -> Any:
        return data

    return {
        "collections.OrderedDict": Mapping,
        "torch.Size": tuple,
        "torch._utils._rebuild_tensor": rebuild,
        "torch._utils._rebuild_tensor_v2": rebuild,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
        **{f"torch.{dtype}": dtype for dtype in STORAGES.values()},
        **dict.fromkeys(IGNORED_GLOBALS, Nothing),
    }
