"""The pickle inside a file of torch.save, read without torch and without running anything it asks for.

A pickle is a program that calls whatever it names. Here it may name only what stands in `_allowed`, and what it gets
for a name is a stand-in: tensors become `View`s, which hold what the pickle says and are checked by who uses them.
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

# What training scripts keep beside the weights; read as a thing that holds nothing.
BYSTANDERS = (
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
    """A stretch of numbers in the archive. Nothing here is checked."""

    dtype: Any
    key: Any
    count: Any


class View(NamedTuple):
    """A tensor: where in a storage its numbers are, in numbers, not bytes. Nothing here is checked."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def load(data: bytes, path: Path) -> Any:
    """The pickled object, with a `View` in the place of each tensor.

    Args:
      data: the pickle.
      path: the file it is from, for the message.

    Raises:
      ConfigError: it names something that weights do not need. A damaged pickle can raise anything.
    """
    return _Unpickler(data, path).load()


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C reserves as much memory as a damaged byte asks for."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data))
        self.path = path
        self.allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted not in self.allowed:
            raise ConfigError(
                f"{self.path} asks for {dotted[:200]!r}, which plain weights do not need; nothing of it was run: "
                "if you trust the file, load it with torch and save its state_dict()"
            )
        return self.allowed[dotted]

    def persistent_load(self, pid: Any) -> Storage:
        _, dtype, key, _, count = pid
        return Storage(dtype, key, count)


def _allowed() -> dict[str, Any]:
    """What a pickle may name, and what it gets for it.

    Made anew for each file, or immutable: a pickle can set attributes on what it gets.
    """

    class Mapping(dict):  # with room for attributes: a state dict has `_metadata`
        pass

    class Nothing:
        def __init__(self, *args: Any) -> None:
            pass

        def __setstate__(self, state: Any) -> None:
            pass

    # A tensor with a seventh argument, conjugate or negated, is not taken: no weights are.
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
        **dict.fromkeys(BYSTANDERS, Nothing),
    }
