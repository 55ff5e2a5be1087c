"""Reading of the pickle in a file of torch.save, without torch and without running the code that it names.

A pickle is a program that calls any function by name. Here every name stands for an object that does nothing, except
for those of dicts and of the functions that rebuild a tensor. Tensors become `View`s, which hold the values in the
pickle and are checked where they are used.
"""

import io
import pickle
from collections.abc import Callable
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

# Bounds on the time and the memory that a hostile pickle costs. A checkpoint has about a hundred steps a tensor, and a
# module of TorchScript one name a submodule.
MAX_STEPS = 5_000_000
MAX_NAMES = 20_000

SCRIPTED_MODULES = "__torch__."  # TorchScript's names of the classes of modules


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


class StandIn(dict):
    """Object without behaviour in place of one whose class or function is not among those of plain weights.

    It keeps the items that the pickle puts into it, because a subclass of dict may hold the weights, and its state only
    if it is a module of TorchScript, whose attributes they are.
    """

    name = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        """Return an empty object, whatever the arguments; an instance may stand in for a class, too."""
        kind: Any = cls if isinstance(cls, type) else type(cls)
        return dict.__new__(kind)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "StandIn":
        """Return another stand-in."""
        return type(self)()

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be a key of a dict

    def __setstate__(self, state: Any) -> None:
        """Keep the attributes of a module of TorchScript, and ignore the state of any other object."""
        if self.name.startswith(SCRIPTED_MODULES) and isinstance(state, dict):
            dict.update(self, state)

    def append(self, *items: Any) -> None:
        """Ignore the items of a list or a set."""

    extend = add = append


def load(data: bytes, path: Path) -> Any:
    """Return the pickled object, with a `View` in place of each tensor.

    Args:
      data: Pickle.
      path: File that contains it, for the message.

    Raises:
      ConfigError: If the pickle has more steps or names than weights need. A damaged pickle may raise any exception.
    """
    return _Unpickler(data, path).load()


def _counted(step: Callable[[Any], None]) -> Callable[[Any], None]:
    def counted(unpickler: "_Unpickler") -> None:
        unpickler.steps += 1
        if unpickler.steps > MAX_STEPS:
            raise ConfigError(f"the pickle in {unpickler.path} has more than {MAX_STEPS} steps; save a state_dict()")
        step(unpickler)

    return counted


class _Unpickler(pickle._Unpickler):
    """Unpickler in Python, because the one in C allocates as much memory as a damaged byte requests."""

    dispatch = {code: _counted(step) for code, step in pickle._Unpickler.dispatch.items()}  # noqa: RUF012

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data))
        self.path = path
        self.steps = 0
        self.names = _tensor_names()

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if dotted not in self.names:
            if len(self.names) >= MAX_NAMES:
                raise ConfigError(f"the pickle in {self.path} has more than {MAX_NAMES} names; save a state_dict()")
            self.names[dotted] = type("StandIn", (StandIn,), {"name": dotted})
        return self.names[dotted]

    def persistent_load(self, pid: Any) -> Storage:
        _, dtype, key, _, count = pid
        return Storage(dtype, key, count)


def _tensor_names() -> dict[str, Any]:
    """Return the names of which tensors and state dicts are made, and the object that the pickle receives for each.

    A pickle can set attributes of these objects, so they are either created for each file or immutable.
    """

    class Mapping(dict):  # a class, because a dict takes no attributes, and a state dict has `_metadata`
        pass

    # Weights have no seventh argument, which marks conjugated and negated tensors.
    def rebuild(
        storage: Any, offset: Any, size: Any, stride: Any, gradient: Any = None, hooks: Any = None, *marks: Any
    ) -> Any:
        return StandIn() if marks else View(storage, offset, size, stride)

    def parameter(data: Any, *rest: Any) -> Any:
        return data

    def with_attributes(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        plain = function is rebuild and getattr(kind, "name", "") in ("torch.Tensor", "torch.nn.parameter.Parameter")
        return rebuild(*arguments) if plain else StandIn()

    return {
        "collections.OrderedDict": Mapping,
        "torch.Size": tuple,
        "torch._utils._rebuild_tensor": rebuild,
        "torch._utils._rebuild_tensor_v2": rebuild,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch._tensor._rebuild_from_type_v2": with_attributes,
        **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
        **{f"torch.{dtype}": dtype for dtype in STORAGES.values()},
    }
