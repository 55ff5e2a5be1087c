"""The installed package: nothing beside `jepa_jax`, and programs that work in a folder with files of the same names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jepa_jax
from tests.helpers import GOLDEN, ROOT

SOURCES = ("jepa_jax", "train", "score", "configs", "pyproject.toml", "README.md", "LICENSE")
PROGRAMS = ("jepa-train", "jepa-score", "jepa-select", "jepa-compare", "jepa-convert")


def pip(*args: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages with this package in it, from a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools writes into the folder that it builds
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(source))
    [wheel] = folder.glob("*.whl")
    pip("install", "--no-deps", "--target", str(folder / "site"), str(wheel))
    return folder / "site"


@pytest.fixture
def installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a program of the package in a folder with modules that have the names of ours."""
    (tmp_path / "configs").mkdir()
    for name in ("train.py", "score.py", "configs/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not ours')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(site))

    def run(program: str, *args: str) -> str:
        done = subprocess.run([str(site / "bin" / program), *args], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_nothing_else_is_installed(site: Path) -> None:
    names = {path.name for path in site.iterdir() if path.name != "bin"}
    assert names == {"jepa_jax", f"jepa_jax-{jepa_jax.__version__}.dist-info"}
    assert {path.name for path in (site / "bin").iterdir()} == {
        "jepa-train",
        "jepa-score",
        "jepa-convert",
        "jepa-select",
        "jepa-compare",
    }
    assert (site / "jepa_jax" / "py.typed").exists()


def test_every_module_is_installed(site: Path) -> None:
    for top, prefix in (("jepa_jax", ""), ("train", "jepa_jax/"), ("score", "jepa_jax/"), ("configs", "jepa_jax/")):
        for path in (ROOT / top).rglob("*.*"):
            if path.suffix in (".py", ".html", ".npz", ".json") and "__pycache__" not in path.parts:
                assert (site / f"{prefix}{path.relative_to(ROOT)}").exists(), path


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version(installed, program: str) -> None:
    assert installed(program, "--version").split()[-1] == jepa_jax.__version__


@pytest.mark.slow
def test_the_programs_work_beside_modules_of_their_names(installed, site: Path, tmp_path: Path) -> None:
    module = "import jepa_jax.train.loop as m; print(m.__file__)"
    found = subprocess.run([sys.executable, "-c", module], capture_output=True, text=True, env={**os.environ}, cwd=site)
    assert found.stdout.startswith(str(site))  # and not the checkout
    (tmp_path / "mine.py").write_text(
        "from jepa_jax.config import Config, Data, Monitor\n\n\n"
        "def get_config() -> Config:\n"
        "    return Config(steps=4, data=Data(batch_size=16), monitor=Monitor(every=4, probes=32, figures=False))\n"
    )
    assert "parameters" in installed("jepa-train", "mixture_2d", "--dry-run")
    [following] = re.findall(r"next: (jepa-score .*)", installed("jepa-train", "mine.py"))
    installed(*following.split(), "--limit", "16", "--report", "report.html")
    assert "<script" in Path("report.html").read_text()
    installed("jepa-convert", str(GOLDEN / "dinov2_hf"), "--out", "models/tiny")
    assert Path("models/tiny/config.json").exists()
