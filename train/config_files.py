"""Configs by name, from the package `configs`, and from files."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from jepa_jax.config import Config
from jepa_jax.config_json import from_json
from jepa_jax.errors import ConfigError, nearest

# The package `configs` beside this one: at the top of a checkout, or below jepa_jax in an installation.
CONFIGS_PACKAGE = f"{(__package__ or '').rpartition('.')[0]}.configs".lstrip(".")


def config_names() -> list[str]:
    """Return the names of all configs in the package."""
    return sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(CONFIGS_PACKAGE).__path__))


def config_module(name: str) -> ModuleType:
    """Import the module of a config by name."""
    return importlib.import_module(f"{CONFIGS_PACKAGE}.{name}")


def find_config(name: str) -> tuple[str, Config]:
    """Find a config by name, in a .py file with get_config(), or in a .json file such as the config.json of a run.

    Returns:
      The name of the config, which is also the default name of the run's folder, and the config.

    Raises:
      ConfigError: If there is no such config.
    """
    path = Path(name)
    if path.suffix == ".json":
        return _from_json(path)
    if path.suffix == ".py":
        return _from_python(path)
    if name not in config_names():
        raise ConfigError(f"unknown config {name!r}{nearest(name, config_names())}")
    return name, config_module(name).get_config()


def _from_json(path: Path) -> tuple[str, Config]:
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    from jepa_jax.run_dir import CONFIG_FILE, kind_of, read_config

    if path.name == CONFIG_FILE and kind_of(path.parent) == "run":
        return path.resolve().parent.name, read_config(path.parent)[0]
    return path.stem, from_json(path.read_text())


def _from_python(path: Path) -> tuple[str, Config]:
    spec = importlib.util.spec_from_file_location("user_config", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"{path} does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} has no function get_config()")
    return path.stem, module.get_config()
