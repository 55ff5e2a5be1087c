"""The README's blocks run, and its commands exist."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

import jepa_jax.pretrained.__main__ as converter
import score.__main__ as score_program
import train.__main__ as train_program
from tests.helpers import ROOT
from train.config_files import config_names

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.S)
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
QUICK = ["--steps", "8", "--data.batch-size", "32", "--monitor.probes", "32", "--monitor.no-figures"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with what the README assumes: a short run, and data of one's own."""
    import numpy as np

    path = tmp_path_factory.mktemp("readme")
    draw = np.random.default_rng(0)
    np.savez(path / "mine.npz", x=draw.standard_normal((64, 3)).astype(np.float32))
    (path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8)).save(path / "photos" / f"{i}.png")
    golden = ROOT / "tests" / "golden"  # tiny networks under the names of large ones
    shutil.copytree(golden / "dinov2_hf", path / "dinov2-small")
    shutil.copy(golden / "ijepa_meta" / "vit-ep300.pth.tar", path / "IN1K-vit.h.14-300e.pth.tar")
    assert converter.main([str(path / "dinov2-small"), "--out", str(path / "models" / "dinov2s")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert train_program.main(["mixture_2d", *QUICK]) == 0
    return path


@pytest.mark.parametrize("code", [text for kind, text in BLOCKS if kind == "python"])
def test_python_blocks(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})


COMMANDS = [line.split("#")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m ")])
def test_commands(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    module, *args = shlex.split(command)[2:]
    if module == "train":  # the same command, but short; its own folder, so that no other run is in the way
        assert train_program.main([*args, *QUICK, "--out", str(folder / "runs" / f"quick_{args[0]}")]) == 0
    elif module == "score":
        name = args[0].removeprefix("runs/")
        if not (folder / args[0]).exists():
            args[0] = str(folder / "runs" / f"quick_{name}")
        assert score_program.main([*args, "--limit", "40"]) == 0
    elif module == "jepa_jax.pretrained":
        tiny = [] if Path(args[0]).is_dir() else ["--heads", "2"]  # of no published size
        assert converter.main([*args, *tiny]) == 0
    else:
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_targets_exist(command):
    for target in command.split()[1:]:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)


def test_every_config_is_listed():
    for name in config_names():
        assert f"`{name}`" in TEXT
