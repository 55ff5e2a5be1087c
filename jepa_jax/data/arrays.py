"""Array files, and the digits that are distributed with scikit-learn. Pickles are never loaded, so no code is run."""

import math
from pathlib import Path

import numpy as np

from jepa_jax.data.samples import Samples
from jepa_jax.errors import ConfigError, first_line

COLUMNS = ("x", "log_density", "label", "pair")  # arrays of an .npz that are read; others may lie beside them


def read_arrays(path: Path, *, keep_bytes: bool = False) -> Samples:
    """Read the samples of a `.npy` or `.npz` file: floats, integers or booleans, or uint8 images.

    Args:
      path: File.
      keep_bytes: Do not scale x to [0, 1] if it is uint8, which then takes a quarter of the memory.

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
    log_density = numbers(arrays["log_density"], "log_density", path) if "log_density" in arrays else None
    pair = numbers(arrays["pair"], "pair", path) if "pair" in arrays else None
    label = arrays.get("label")
    if label is not None and label.dtype.kind not in "biufSU":
        raise ConfigError(f"{path}: label has dtype {label.dtype}; save numbers or strings")
    for name, array, shape in (
        ("log_density", log_density, x.shape[:1]),
        ("label", label, x.shape[:1]),
        ("pair", pair, x.shape),
    ):
        if array is not None and array.shape != shape:
            raise ConfigError(f"{path}: {name} has shape {list(array.shape)}; with this x it must be {list(shape)}")
    return Samples(x, log_density, label, pair, name=str(path), from_bytes=arrays["x"].dtype == np.uint8)


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
      name: Its name: `x`, `pair` or `log_density`, which is not scaled.
      place: File, or other origin of the array, for messages.

    Raises:
      ConfigError: If it does not hold numbers, or they are not finite or too large for float32.
    """
    samples = name != "log_density"
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
