"""Configs by name, from the package `configs`, and from files."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jepa_jax.config import Config
from jepa_jax.config_json import from_tree, parse_json
from jepa_jax.errors import ConfigError, first_line, nearest

# The package `configs` beside this one: at the top of a checkout, or below jepa_jax in an installation.
CONFIGS_PACKAGE = f"{(__package__ or '').rpartition('.')[0]}.configs".lstrip(".")
MOST_LEVELS = 20  # of a YAML file, whose parser takes long for thousands
SUFFIXES = (".json", ".toml", ".yaml", ".yml", ".py")  # of the files that hold a config


def config_names() -> list[str]:
    """Return the names of all configs in the package."""
    return sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(CONFIGS_PACKAGE).__path__))


def config_module(name: str) -> ModuleType:
    """Import the module of a config by name."""
    return importlib.import_module(f"{CONFIGS_PACKAGE}.{name}")


def find_config(name: str) -> tuple[str, Config]:
    """Find a config by name, in a .py file with get_config(), or in a .json, .toml or .yaml file.

    Returns:
      The name of the config, which is also the default name of the run's folder, and the config.

    Raises:
      ConfigError: If there is no such config, or its file cannot be read.
    """
    path = Path(name)
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise ConfigError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        return _from_python(path) if path.suffix == ".py" else _from_text(path)
    if name not in config_names():
        files = f"; a file of your own ends in {', '.join(SUFFIXES)}" if path.exists() else ""
        raise ConfigError(f"unknown config {name!r}{files or nearest(name, config_names())}")
    return name, config_module(name).get_config()


def _from_text(path: Path) -> tuple[str, Config]:
    """Read a config, or the config.json of a run, whose folder then gives the name."""
    from jepa_jax.run_dir import CONFIG_FILE, check_format

    try:
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise ConfigError("the config is empty")
        tree = READERS[path.suffix](text)
        of_run = isinstance(tree, dict) and tree.pop("sample_shape", None) is not None
        if of_run:
            check_format(path, tree)
            tree.pop("format", None)
        config = from_tree(tree)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {first_line(error)}") from None
    return path.resolve().parent.name if of_run and path.name == CONFIG_FILE else path.stem, config


def _toml(text: str) -> Any:
    """Return the content of a TOML file, where a field that is left out has its default.

    Raises:
      ConfigError: If it is not TOML.
    """
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the config is not TOML: {first_line(error)}") from None


def _yaml(text: str) -> Any:
    """Return the content of a YAML file, read as JSON with fewer brackets: numbers as in JSON, no aliases, no objects.

    Raises:
      ConfigError: If it is not YAML, or has an alias, by which a small file can become a huge one.
    """
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """Loader that reads 1e-3 as a number, as everything but YAML 1.1 does."""

    Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    try:
        depth = 0
        for event in yaml.parse(text, Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MOST_LEVELS:
                raise ConfigError("the config has a YAML alias, or too many levels; write it as plain sections")
        return yaml.load(text, Loader) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the config is not YAML: {' '.join(str(error).split())[:200]}") from None


READERS: dict[str, Callable[[str], Any]] = {".json": parse_json, ".toml": _toml, ".yaml": _yaml, ".yml": _yaml}


def _from_python(path: Path) -> tuple[str, Config]:
    spec = importlib.util.spec_from_file_location("user_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ConfigError("it has no function get_config()")
        config = module.get_config()
    except Exception as error:  # the code of a user can raise anything
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        raise ConfigError(f"{path}: {kind}{first_line(error)}") from error
    if not isinstance(config, Config):
        raise ConfigError(f"{path}: get_config() returns {type(config).__name__}, not a jepa_jax.config.Config")
    return path.stem, config
