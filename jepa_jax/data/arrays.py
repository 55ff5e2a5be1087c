"""Array files, and the digits that are distributed with scikit-learn. Pickles are never loaded, so no code is run."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jepa_jax.data.samples import Samples
from jepa_jax.errors import ConfigError


def read_arrays(path: Path, *, keep_bytes: bool = False) -> Samples:
    """Read the samples of a `.npy` or `.npz` file.

    Args:
      path: File.
      keep_bytes: Do not scale x to [0, 1] if it is uint8, which then takes a quarter of the memory.

    Raises:
      ConfigError: If the file cannot be read, or holds anything but finite numbers with samples on the first axis.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            if magic[:2] != b"PK" and magic != b"\x93NUMPY":  # NumPy would try to read a pickle
                raise ConfigError(f"{path} is not a NumPy file; save the samples with numpy.save or numpy.savez")
            file.seek(0)
            # Pass a file, not a path, because NumPy leaves its own file open if a zip is damaged.
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except ConfigError:
        raise
    except ValueError as error:
        if "Object arrays" in str(error):
            raise ConfigError(
                f"{path} holds an object array (ragged rows or pickled objects), which is never loaded; "
                "save one rectangular array of numbers"
            ) from None
        raise ConfigError(f"{path} is not a NumPy file: {error}") from None
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, tokenize.TokenError, MemoryError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read as a NumPy file: {error}") from None
    if "x" not in arrays:
        raise ConfigError(f"{path} has no array named x; it has {', '.join(sorted(arrays)) or 'nothing'}")
    x = arrays["x"] if keep_bytes and arrays["x"].dtype == np.uint8 else _numbers(arrays["x"], "x", path)
    if x.ndim < 2:
        raise ConfigError(f"{path}: x has shape {list(x.shape)}; samples go on the first axis, [N, ...]")
    if x.size == 0:
        raise ConfigError(f"{path}: x is empty, shape {list(x.shape)}")
    log_density = _numbers(arrays["log_density"], "log_density", path) if "log_density" in arrays else None
    pair = _numbers(arrays["pair"], "pair", path) if "pair" in arrays else None
    label = arrays.get("label")
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


def _numbers(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ConfigError(f"{path}: {name} has dtype {array.dtype}; save floats, or uint8 for images")
    array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
    if len(bad):
        raise ConfigError(f"{path}: {name} is not finite in {len(bad)} rows, the first is row {bad[0]}; drop them")
    return array
