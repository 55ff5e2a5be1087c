"""The blocks of the README and of the docs run, page by page and in order; their commands, options and links exist."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jepa_jax.data.sprites_builder.__main__ as builder
import jepa_jax.pretrained.__main__ as converter
import score.__main__ as score_program
import score.compare
import score.select
import train.__main__ as train_program
from tests.helpers import GOLDEN, ROOT
from train.config_files import config_names

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorials"]
QUICK = ["--steps", "8", "--data.batch-size", "32", "--monitor.probes", "32", "--monitor.no-figures"]
SMALL = ["--encoder.members", "2", "--encoder.components", "4", "--encoder.kernel", "normal", "--encoder.widths", "16"]
PROGRAMS = {
    # The same command, but short.
    "jepa-train": lambda args: train_program.main([*args, *QUICK, *(SMALL if args[0] == "arrays" else [])]),
    "jepa-score": lambda args: score_program.main(short(args)),
    "jepa-select": score.select.main,
    "jepa-compare": score.compare.main,
    "jepa-convert": lambda args: converter.main([*args, *([] if Path(args[0]).is_dir() else ["--heads", "2"])]),
    "python -m jepa_jax.data.sprites_builder": builder.main,
}


def short(args: list[str]) -> list[str]:
    """The same call of the score program on few samples, most of which are the pilot."""
    return [
        *("30" if before == "--pilot" else arg for before, arg in zip(["", *args], args, strict=False)),
        "--limit",
        "40",
    ]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and content of each block of a page that runs: `python` or `sh`."""
    found = re.findall(r"^```(\S+)[^\n]*\n(.*?)^```", page.read_text(), flags=re.S | re.M)
    found = [("python" if kind == "{code-cell}" else kind, text) for kind, text in found]
    return [block for block in found if block[0] in ("python", "sh")]


def run(command: str) -> None:
    if command.startswith("make "):
        for target in command.split()[1:]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)
        return
    name = next(name for name in PROGRAMS if command.startswith(f"{name} "))
    assert PROGRAMS[name](shlex.split(command.removeprefix(name))) == 0, command


def run_page(page: Path) -> None:
    names = {"__name__": "__main__"}
    for kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, str(page), "exec"), names)
            continue
        for line in text.splitlines():
            if command := line.split("#")[0].strip():
                run(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README and the reference pages assume: a short run, and data of one's own."""
    path = tmp_path_factory.mktemp("docs")
    draw = np.random.default_rng(0)
    np.savez(path / "mine.npz", x=draw.standard_normal((64, 3)).astype(np.float32))
    np.savetxt(path / "mine.csv", draw.standard_normal((64, 3)), delimiter=",", header="a,b,c", comments="")
    (path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8)).save(path / "photos" / f"{i}.png")
    shutil.copytree(GOLDEN / "dinov2_hf", path / "dinov2-small")  # tiny networks under the names of large ones
    shutil.copy(GOLDEN / "ijepa_meta" / "vit-ep300.pth.tar", path / "IN1K-vit.h.14-300e.pth.tar")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        run("jepa-convert dinov2-small --out models/dinov2s")
        shutil.copytree("models/dinov2s", "models/dinov2")
        shutil.rmtree("models/dinov2s")
        run("jepa-train mixture_2d")
    return path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[] if page.name == "README.md" else pytest.mark.slow)
        for page in PAGES
        if blocks(page)
    ],
)
def test_every_block_runs(page: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.chdir(tmp_path if page in TUTORIALS else shutil.copytree(folder, tmp_path / "work"))
    run_page(page)


def test_every_config_is_described() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in config_names() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "LOG.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for name in re.findall(r"\{doc\}`([^`]+)`", page.read_text()):
        assert (page.parent / f"{name}.md").exists(), name


def test_the_readme_is_short() -> None:
    assert 120 <= len((ROOT / "README.md").read_text().splitlines()) <= 150
