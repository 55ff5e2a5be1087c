"""Array files, and the digits that are distributed with scikit-learn. Pickles are never loaded, so no code is run."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.data.offsets import automatic_offset, centred
from jepa_jax.data.samples import Samples
from jepa_jax.errors import ConfigError, first_line

# Arrays of an .npz that are read; others may lie beside them.
COLUMNS = ("x", "log_density", "label", "pair", "condition", "tangent", "held_out", "categories")
ORTHONORMAL = 1e-3  # largest error of the products of the vectors of a basis


def read_arrays(path: Path, *, keep_bytes: bool = False, offset: tuple[float, ...] | None = ()) -> Samples:
    """Read the samples of a `.npy` or `.npz` file: floats, integers or booleans, or uint8 images.

    Args:
      path: File.
      keep_bytes: Do not scale x to [0, 1] if it is uint8, which then takes a quarter of the memory.
      offset: Number to subtract from each column of vectors in float64, () for none; None for `automatic_offset`.

    Raises:
      ConfigError: If the file cannot be read, or holds anything but finite numbers with samples on the first axis.
    """
    arrays, names = _load(path)
    if "x" not in arrays:
        raise ConfigError(f"{path} has no array named x; it has {', '.join(sorted(names)) or 'nothing'}")
    x = arrays["x"] if keep_bytes and arrays["x"].dtype == np.uint8 else numbers(arrays["x"], "x", path)
    if x.ndim < 2:
        raise ConfigError(f"{path}: x has shape {list(x.shape)}; samples go on the first axis, [N, ...]")
    if x.size == 0:
        raise ConfigError(f"{path}: x is empty, shape {list(x.shape)}")
    columns = _columns(arrays, x, path)
    categories = _categories(arrays["categories"], x, path) if "categories" in arrays else ()
    if offset is None:
        offset = () if categories else automatic_offset(arrays["x"])
    if offset:
        x = centred(arrays["x"], offset, str(path))
        if "pair" in columns:
            columns["pair"] = centred(arrays["pair"], offset, str(path))
    columns |= {"categories": categories, "offset": offset, "from_bytes": arrays["x"].dtype == np.uint8}
    return Samples(x, name=str(path), **columns)


def _columns(arrays: dict[str, np.ndarray], x: np.ndarray, path: Path) -> dict[str, Any]:
    """Return the arrays of a file that have an entry for each sample in x, beside x.

    Raises:
      ConfigError: If one has another shape or type.
    """
    count, size = len(x), math.prod(x.shape[1:])
    found: dict[str, Any] = {
        name: numbers(arrays[name], name, path)
        for name in ("log_density", "pair", "condition", "tangent")
        if name in arrays
    }
    for name, kinds, like in (("label", "biufSU", "numbers or strings"), ("held_out", "b", "booleans")):
        if name in arrays:
            found[name] = arrays[name]
            if arrays[name].dtype.kind not in kinds:
                raise ConfigError(f"{path}: {name} has dtype {arrays[name].dtype}; save {like}")
    shapes = {"pair": x.shape, "condition": (count, None), "tangent": (count, size, None)}
    for name, array in found.items():
        shape = shapes.get(name, (count,))
        if len(array.shape) != len(shape) or any(n not in (m, None) for m, n in zip(array.shape, shape, strict=True)):
            wanted = str([n if n is not None else {"condition": "C", "tangent": "d"}[name] for n in shape])
            raise ConfigError(
                f"{path}: {name} has shape {list(array.shape)}; with this x it must be {wanted.replace(chr(39), '')}"
            )
    if "tangent" in found:
        basis = found["tangent"]
        off = np.abs(np.einsum("nij,nik->njk", basis, basis) - np.eye(basis.shape[2]))
        if not basis.shape[2] or off.max(initial=0) > ORTHONORMAL:
            raise ConfigError(
                f"{path}: tangent should have orthonormal columns; numpy.linalg.qr(tangent)[0] makes them"
            )
    return found


def _categories(array: np.ndarray, x: np.ndarray, path: Path) -> tuple[int, ...]:
    """Return the number of categories of each column of x, 0 for numbers.

    Raises:
      ConfigError: If a column does not hold whole numbers below its number of categories.
    """
    if x.ndim != 2 or array.shape != x.shape[1:] or array.dtype.kind not in "iu" or (array < 0).any():
        raise ConfigError(
            f"{path}: categories should be the number of categories of each column of x [N, D], 0 for none"
        )
    for column in np.flatnonzero(array):
        values = x[:, column]
        if (values != np.round(values)).any() or values.min() < 0 or values.max() >= array[column]:
            raise ConfigError(
                f"{path}: column {column} of x should have categories as whole numbers from 0 to {array[column] - 1}"
            )
    return tuple(int(n) for n in array)


def layout_hint(shape: tuple[int, ...], want: tuple[int, ...]) -> str:
    """Return how to bring an array to samples of a shape by a change of its layout alone; "" if there is no way.

    Args:
      shape: Shape of the array, with the samples on the first axis.
      want: Shape of a sample as the encoder takes it, [H, W, C].
    """
    have = shape[1:]
    if len(want) != 3 or have == want:
        return ""
    if shape == want:
        return "; samples go on the first axis, even a single one: numpy.save(FILE, x[None])"
    if have == (want[2], *want[:2]):
        return "; channels go last: numpy.save(FILE, x.transpose(0, 2, 3, 1))"
    if have == want[:2] and want[2] == 1:
        return "; the one channel goes last: numpy.save(FILE, x[..., None])"
    if have == (math.prod(want),):
        return f"; if they are images in rows: numpy.save(FILE, x.reshape(-1, {', '.join(map(str, want))}))"
    return ""


def read_digits() -> Samples:
    """Return the 1,797 handwritten digits of scikit-learn, [1797, 8, 8, 1] in [0, 1], with labels."""
    from sklearn.datasets import load_digits  # imported here, because scikit-learn takes a second to import

    x, label = load_digits(return_X_y=True)
    return Samples((x.reshape(-1, 8, 8, 1) / 16).astype(np.float32), label=label, name="digits")


def _load(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays of a file that are read, and the names of all.

    Raises:
      ConfigError: If the file cannot be read, or would have to be unpickled.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait forever
        raise ConfigError(f"{path} is not a file; save the samples with numpy.save or numpy.savez")
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            if magic[:2] != b"PK" and magic != b"\x93NUMPY":  # NumPy would try to read a pickle
                raise ConfigError(f"{path} is not a NumPy file; save the samples with numpy.save or numpy.savez")
            file.seek(0)
            # Pass a file, not a path, because NumPy leaves its own file open if a zip is damaged.
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}, ["x"]
            return {name: loaded[name] for name in COLUMNS if name in loaded.files}, loaded.files
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except Exception as error:  # a damaged file raises many types of exceptions in NumPy and in zipfile
        if "Object arrays" in str(error):
            raise ConfigError(
                f"{path} holds an object array (ragged rows or pickled objects), which is never loaded; "
                "save one rectangular array of numbers"
            ) from None
        raise ConfigError(f"{path} cannot be read as a NumPy file: {first_line(error)}") from None


def numbers(array: np.ndarray, name: str, place: Path | str) -> np.ndarray:
    """Return an array of any kind of numbers as float32, with uint8 scaled to [0, 1].

    Args:
      array: Array [N, ...].
      name: Its name; `x` and `pair` alone are scaled.
      place: File, or other origin of the array, for messages.

    Raises:
      ConfigError: If it does not hold numbers, or they are not finite or too large for float32.
    """
    samples = name in ("x", "pair")
    if array.dtype == np.uint8 and samples:
        return array.astype(np.float32) / 255
    if array.dtype.kind not in "biuf":
        raise ConfigError(
            f"{place}: {name} has dtype {_short(array.dtype)}; save floats, integers or booleans, or uint8 for images"
        )
    if array.dtype.kind in "biu" and samples and array.ndim == 4:
        raise ConfigError(
            f"{place}: {name} has dtype {array.dtype} and the shape of images, whose range is then unknown; "
            "save uint8, or floats in [0, 1]"
        )
    rows = tuple(range(1, array.ndim))
    bad = np.flatnonzero(~np.isfinite(array).all(axis=rows))
    if len(bad):
        raise ConfigError(f"{place}: {name} is not finite in {len(bad)} rows, the first is row {bad[0]}; drop them")
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    large = np.flatnonzero(~np.isfinite(found).all(axis=rows))
    if len(large):
        raise ConfigError(
            f"{place}: {name} is too large for float32 in {len(large)} rows, the first is row {large[0]}; "
            "divide by a constant, or drop them if they mark missing values"
        )
    return found


def _short(dtype: np.dtype) -> str:
    """Return the name of a dtype; of one that NumPy does not know, such as bfloat16, its size in bytes."""
    if dtype.names:
        return f"structured ({', '.join(dtype.names)})"
    return f"unknown to NumPy ({dtype.itemsize} bytes each)" if dtype.kind == "V" else str(dtype)
