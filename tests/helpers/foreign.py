"""Files like those of torch.save, written without torch."""

import pickle
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.reading import open_weights

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def save_torch_zip(path: Path, tree: Any, entries: dict[str, bytes | None] | None = None) -> None:
    """Write `tree` as torch.save would: NumPy arrays become tensors, a `Parameter` an nn.Parameter.

    All views of one array share its storage, as views of a tensor do; so `array.T` is saved with the strides of a
    transposed tensor, and `np.ascontiguousarray(array.T)` without. Names and opcodes are those of torch 2, and
    `torch.load(weights_only=True)` reads the file.

    Args:
      path: the file to write.
      tree: dicts, OrderedDicts, lists and what else a pickle holds, with arrays (no negative strides) anywhere.
      entries: bytes to put in the place of an entry, or beside the others, by its name inside the archive's folder;
        None leaves the entry out. `{"data.pkl": hostile}` makes a bad file, `{"byteorder": b"big"}` another.
    """
    buffer = BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(tree)
    written = {"data.pkl": buffer.getvalue(), ".format_version": b"1", "byteorder": b"little"}
    written |= {f"data/{i}": base.ravel("K").tobytes() for i, base in enumerate(pickler.bases)}
    written |= {"version": b"3\n"} | (entries or {})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in written.items():
            if data is not None:
                archive.writestr(f"archive/{name}", data)


class Parameter(NamedTuple):
    """An array that is saved as an nn.Parameter."""

    array: np.ndarray


class Global(NamedTuple):
    """A name that a pickle asks for; nothing of that name need exist here."""

    module: str
    name: str

    def __call__(self, *args: Any) -> None:
        """The pickler wants to see that it could be called."""


class Instance(NamedTuple):
    """An object of a class with this name, made without arguments, and its state."""

    kind: Global
    state: Any


class Storage(NamedTuple):
    """Says that the entry `data/key` holds `count` numbers."""

    kind: str
    key: str
    count: Any


class Claim(NamedTuple):
    """A tensor as a pickle describes it, true or not."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any


class _Pickler(pickle._Pickler):
    """The pickler in Python, which can be told how to write a type."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.bases: list[np.ndarray] = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        return ("storage", Global("torch", obj.kind), obj.key, "cpu", obj.count)

    def save_global_by_name(self, obj: Global) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_claim(self, obj: Claim) -> None:
        self.save_reduce(Global("torch._utils", "_rebuild_tensor_v2"), (*obj, False, OrderedDict()), obj=obj)

    def save_instance(self, obj: Instance) -> None:
        self.save(obj.kind)
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.save(obj.state)
        self.write(pickle.BUILD)

    def save_array(self, obj: np.ndarray) -> None:
        base = obj
        while isinstance(base.base, np.ndarray) and base.base.dtype == base.dtype:
            base = base.base
        key = next((i for i, known in enumerate(self.bases) if known is base), len(self.bases))
        if key == len(self.bases):
            self.bases.append(base)
        storage = Storage(STORAGES[obj.dtype.name], str(key), base.size)
        offset = (obj.ctypes.data - base.ctypes.data) // base.itemsize
        self.save_claim(Claim(storage, offset, obj.shape, tuple(step // base.itemsize for step in obj.strides)))

    def save_parameter(self, obj: Parameter) -> None:
        self.save_reduce(Global("torch._utils", "_rebuild_parameter"), (obj.array, True, OrderedDict()), obj=obj)

    dispatch = pickle._Pickler.dispatch | {
        Global: save_global_by_name,
        Claim: save_claim,
        Instance: save_instance,
        np.ndarray: save_array,
        Parameter: save_parameter,
    }


def scripted(tensors: dict[str, Any]) -> Instance:
    """Return the module that torch.jit.save would write for a state dict: modules in modules, by their attributes."""
    attributes: dict[str, Any] = {"training": False, "_is_full_backward_hook": None}
    for name in dict.fromkeys(key.partition(".")[0] for key in tensors):
        below = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        attributes[name] = scripted(below) if below else tensors[name]
    return Instance(Global("__torch__.torch.nn", f"Module_{len(tensors)}"), attributes)


SCRIPT = {"constants.pkl": b"\x80\x02).", "code/__torch__.py": b"class Module: ..."}  # entries of torch.jit.save

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def raises_one_line(path: Path, words: str) -> None:
    """Check that opening the weights fails with these words, in one line that can be printed."""
    with pytest.raises(ConfigError, match=words) as caught:
        open_weights(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
