"""Configs by name, from configs/, and from files."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from jepa_jax.config import Config
from jepa_jax.config_json import from_json
from jepa_jax.errors import ConfigError, nearest

# `configs` beside this package: at the top of a checkout, below jepa_jax where it is installed.
CONFIGS = f"{(__package__ or '').rpartition('.')[0]}.configs".lstrip(".")


def config_names() -> list[str]:
    """The bare names in configs/."""
    return sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(CONFIGS).__path__))


def config_module(name: str) -> ModuleType:
    """The module of a bare name."""
    return importlib.import_module(f"{CONFIGS}.{name}")


def find_config(name: str) -> tuple[str, Config]:
    """A config by bare name, or from a .py file with get_config(), or from a .json file such as a run's config.json.

    Returns:
      Its name, by which its run's folder is called unless `out` says otherwise, and the config.

    Raises:
      ConfigError: there is none.
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
