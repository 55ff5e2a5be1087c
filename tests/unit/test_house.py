"""The house: who may call whom, and how large files and functions may be."""

import ast
import graphlib
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 60
TOP = ("jepa_jax", "train", "score", "configs", "benchmarks", "tests")
FILES = sorted(path.relative_to(ROOT).as_posix() for top in TOP for path in (ROOT / top).rglob("*.py"))

# A third-party package: the only places that import it.
HOMES = {
    "flax": ("jepa_jax/models/", "tests/"),
    "orbax": ("jepa_jax/checkpoint.py", "tests/"),
    "optax": ("jepa_jax/training/", "benchmarks/", "tests/"),
    "tensorflow_datasets": ("jepa_jax/data/", "tests/"),
    "grain": ("jepa_jax/data/", "tests/"),
    "torch": ("benchmarks/", "tests/"),
    "transformers": ("tests/",),
    "selenium": ("tests/",),
    "matfree": ("jepa_jax/density/",),
    "tensorboardX": ("train/log.py", "tests/"),
    "wandb": ("train/log.py",),
    "trackio": ("train/log.py",),
    "yaml": ("train/config_files.py", "tests/"),
    "threadpoolctl": ("jepa_jax/evaluate/",),
    "pyarrow": ("jepa_jax/data/", "score/", "tests/"),
    "safetensors": ("jepa_jax/pretrained/", "benchmarks/", "tests/"),
}

# A file or a folder: all that it may import of ours. The first line that fits counts.
ROOMS = {
    "jepa_jax/errors.py": (),
    "jepa_jax/config/": ("jepa_jax.config", "jepa_jax.errors"),
    "jepa_jax/config_json.py": ("jepa_jax.config", "jepa_jax.errors"),
    "jepa_jax/cli.py": ("jepa_jax.config_json", "jepa_jax.errors"),
    "jepa_jax/files.py": ("jepa_jax.errors",),
    "jepa_jax/memory.py": (),
    "jepa_jax/plots.py": (),
    "jepa_jax/progress.py": (),
    "jepa_jax/compile_cache.py": (),
    "jepa_jax/checkpoint.py": ("jepa_jax.errors",),
    "jepa_jax/run_dir.py": ("jepa_jax.config", "jepa_jax.config_json", "jepa_jax.errors", "jepa_jax.files"),
    "jepa_jax/sharding.py": ("jepa_jax.config", "jepa_jax.errors"),
    "jepa_jax/distributed.py": ("jepa_jax.errors",),
    "jepa_jax/encoder.py": ("jepa_jax.images",),
    "jepa_jax/images/": ("jepa_jax.images", "jepa_jax.errors"),
    "jepa_jax/ahead/": ("jepa_jax.ahead", "jepa_jax.errors", "jepa_jax.files", "jepa_jax.matmuls", "jepa_jax.memory"),
    "jepa_jax/matmuls.py": ("jepa_jax.memory",),
    "jepa_jax/worlds/": ("jepa_jax.worlds",),
    "jepa_jax/objectives/": ("jepa_jax.objectives",),
    "jepa_jax/masking/": ("jepa_jax.masking",),
    "jepa_jax/targets/": ("jepa_jax.targets",),
    "jepa_jax/views/pipeline.py": ("jepa_jax.views", "jepa_jax.config", "jepa_jax.errors"),
    "jepa_jax/views/": ("jepa_jax.views",),
    "jepa_jax/density/": ("jepa_jax.density", "jepa_jax.memory"),
    "jepa_jax/evaluate/": ("jepa_jax.evaluate",),
    "jepa_jax/data/": (
        "jepa_jax.data",
        "jepa_jax.cli",
        "jepa_jax.config",
        "jepa_jax.errors",
        "jepa_jax.images",
        "jepa_jax.memory",
        "jepa_jax.views",
        "jepa_jax.worlds",
    ),
    "jepa_jax/models/": (
        "jepa_jax.models",
        "jepa_jax.config",
        "jepa_jax.density",
        "jepa_jax.encoder",
        "jepa_jax.errors",
        "jepa_jax.images",
        "jepa_jax.memory",
    ),
    "jepa_jax/recipes/": (
        "jepa_jax.recipes",
        "jepa_jax.config",
        "jepa_jax.errors",
        "jepa_jax.masking",
        "jepa_jax.models",
        "jepa_jax.objectives",
        "jepa_jax.targets",
        "jepa_jax.views",
    ),
    "jepa_jax/training/": (
        "jepa_jax.training",
        "jepa_jax.config",
        "jepa_jax.config_json",
        "jepa_jax.data",
        "jepa_jax.encoder",
        "jepa_jax.errors",
        "jepa_jax.images",
        "jepa_jax.initial_weights",
        "jepa_jax.matmuls",
        "jepa_jax.objectives",
        "jepa_jax.recipes",
        "jepa_jax.resolve",
        "jepa_jax.sharding",
        "jepa_jax.views",
    ),
    "jepa_jax/": ("jepa_jax",),
    "train/": ("jepa_jax", "train", "configs"),
    "score/": ("jepa_jax", "score"),
    "configs/": ("jepa_jax.config",),
}


def imports(file: str, source: str) -> Iterator[str]:
    """Every module a source names, `from a import b` as a.b, at any depth, relative ones from the top."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.split("/")[: -node.level] if node.level else []
            yield from (".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names)


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def breaches(file: str, source: str) -> list[str]:
    """What a file imports that it may not."""
    found = []
    for name in imports(file, source):
        package = name.split(".")[0]
        if package in HOMES and not file.startswith(HOMES[package]):
            found.append(name)
        allowed = next((rooms for folder, rooms in ROOMS.items() if file.startswith(folder)), TOP)
        if package in TOP and not any(within(name, room) for room in allowed):
            found.append(name)
    return found


def test_the_arrows() -> None:
    found = {file: breaches(file, (ROOT / file).read_text()) for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}


def test_no_circle() -> None:
    """Modules can be put in an order in which each imports only earlier ones, whenever it does so."""
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}

    def used(file: str) -> set[str]:
        found = set()
        for name in imports(file, (ROOT / file).read_text()):
            known = [m for m in (name, name.rpartition(".")[0]) if m in modules and modules[m] != file]
            found.update(known[:1])
        return found

    graph = {name: used(file) for name, file in modules.items() if not file.startswith("tests/")}
    # A package's table of contents imports its modules, which may import each other, but not the table.
    list(graphlib.TopologicalSorter(graph).static_order())


def test_no_file_is_long() -> None:
    lines = {file: (ROOT / file).read_text().count("\n") for file in FILES}
    assert {file: n for file, n in lines.items() if n > LINES_OF_A_FILE} == {}
    ours = [n for file, n in lines.items() if not file.startswith("tests/") and n > 0]
    assert 60 <= statistics.median(ours) <= 120


def test_no_function_is_long() -> None:
    long = {}
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LINES_OF_A_FUNCTION:
                    long[f"{file}:{node.name}"] = lines
    assert long == {}


def test_every_package_is_installed() -> None:
    """The list in pyproject.toml, which says where train, score and configs go, has every folder."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {package.replace(".", "/") for package in setup["packages"]}
    for package, folder in setup["package-dir"].items():
        folders = {re.sub(rf"^{package.replace('.', '/')}(?=/|$)", folder, f) for f in folders}
    there = {str(Path(f).parent) for f in FILES if f.endswith("__init__.py")}
    assert folders == {folder for folder in there if not folder.startswith(("tests", "benchmarks"))}


def test_every_room_is_there() -> None:
    for folder in (*ROOMS, *(home for homes in HOMES.values() for home in homes)):
        assert any(file.startswith(folder) for file in FILES), folder


def test_configs_need_the_standard_library_only() -> None:
    """A config is read, checked and written without waiting for JAX."""
    code = (
        "import sys, jepa_jax.config, jepa_jax.config_json; sys.exit(any(m in sys.modules for m in ('jax', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("jepa_jax/density/score.py", "from jepa_jax.errors import ConfigError"),
        ("jepa_jax/density/score.py", "def f():\n    import flax.nnx"),
        ("jepa_jax/views/crops.py", "import jepa_jax"),
        ("jepa_jax/masking/blocks.py", "from jepa_jax.errors import ConfigError"),
        ("jepa_jax/recipes/pair.py", "from jepa_jax.training import make_trainer"),
        ("jepa_jax/worlds/rings.py", "from jepa_jax import config"),
        ("jepa_jax/data/source.py", "from train import loop"),
        ("jepa_jax/models/build.py", "import torch"),
        ("jepa_jax/encoder.py", "from . import config"),
        ("score/run.py", "from ..train import loop"),
        ("jepa_jax/encoder.py", "from jepa_jax.errors import ConfigError"),
        ("jepa_jax/images/preprocessing.py", "from jepa_jax.data.folder import Images"),
        ("jepa_jax/checkpoint.py", "from safetensors.numpy import load_file"),
        ("score/run.py", "import train.loop"),
        ("train/loop.py", "from score.run import run"),
        ("train/loop.py", "import optax"),
        ("train/loop.py", "from tensorboardX import SummaryWriter"),
        ("configs/a.py", "from jepa_jax.data import Source"),
        ("configs/a.py", "import jepa_jax.config_json"),
    ],
)
def test_a_breach_is_found(file: str, source: str) -> None:
    assert len(breaches(file, source)) == 1
