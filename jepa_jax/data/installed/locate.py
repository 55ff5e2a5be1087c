"""Files of installed packages."""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from jepa_jax.errors import ConfigError, first_line


def files(name: str, package: str, pattern: str) -> list[Path]:
    """Return the files of a package that match a pattern, sorted; the package is not imported.

    Args:
      name: Name of the data, for messages.
      package: Name of the package.
      pattern: Pattern below its folder, as in `Path.glob`.

    Raises:
      ConfigError: If the package is not installed, or has no such files.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{name} lies inside the package {package}: pip install 'jepa-jax[family]'")
    found = sorted(path for top in spec.submodule_search_locations for path in Path(top).glob(pattern))
    if not found:
        raise ConfigError(
            f"{name}: {package} is installed, but has no {pattern}; install the version that 'jepa-jax[family]' names"
        )
    return found


@contextlib.contextmanager
def reading(name: str, path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a ConfigError of one line that names the file."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # a damaged file raises many types of exceptions
        reason = first_line(error) or type(error).__name__
        raise ConfigError(f"{name}: {path} cannot be read: {reason}; install its package again") from None
