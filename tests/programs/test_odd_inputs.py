"""Inputs that are not what they should be, at every entrance: one line, exit status 2, no traceback, no waiting."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import jepa_jax
from jepa_jax.checkpoint import quiet_failure, read_progress, values
from jepa_jax.config import Config, Data, ViT
from jepa_jax.config_json import to_json
from jepa_jax.data import open_source, read_arrays
from jepa_jax.data.abstract import abstract_source
from jepa_jax.data.tables import Schema, read_table
from jepa_jax.errors import ConfigError
from jepa_jax.images import Unreadable, decode
from jepa_jax.pretrained.__main__ import main as convert
from jepa_jax.run_dir import read_config, read_mixture, read_statistics, write_mixture
from jepa_jax.sharding import training_mesh
from jepa_jax.training import make_trainer
from score.__main__ import main as score
from tests.helpers.damage import damaged
from tests.helpers.runs import TrainedRuns
from train.__main__ import main as train
from train.config_files import find_config
from train.log import read_rows
from train.loop import begin

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


def huge(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 2)})


# Name without a suffix -> how it is made.
ODD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("hello\n" * 50),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "broken": lambda path: path.symlink_to("nowhere"),
    "circular": lambda path: path.symlink_to(path.name),
    "pipe": os.mkfifo,
    "null": lambda path: path.symlink_to("/dev/null"),
    "two\nlines \x1b[31m \N{SNOWMAN}": lambda path: path.write_text("x"),
    "-dash": lambda path: path.write_text("x"),
    "l" * 300: lambda path: None,
    "m" * 5000: lambda path: None,
    "a\0b": lambda path: None,
    "a\udcffb": lambda path: None,
    "huge": huge,
}


def load(args: list[str]) -> int:
    """The Python interface as a program."""
    try:
        jepa_jax.load(args[0])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


# An entrance: the program, its arguments with FILE for the odd input, and the suffixes by which the input is read.
ENTRANCES: dict[str, tuple[Callable[[list[str]], int], list[str], tuple[str, ...]]] = {
    "config": (train, ["FILE"], ("", ".json", ".toml", ".yaml", ".py")),
    "data to train on": (
        train,
        ["arrays_infonce", "--out", "out", "--data.source", "FILE"],
        ("", ".npy", ".csv", ".parquet"),
    ),
    "model": (score, ["FILE", "--data", "moons", "--limit", "4"], ("", ".pth", ".safetensors")),
    "data to score": (score, ["RUN", "--data", "FILE"], ("", ".npz", ".tsv", ".txt")),
    "weights": (convert, ["FILE", "--out", "out"], ("", ".pth", ".safetensors")),
    "python": (load, ["FILE"], ("", ".pth", ".safetensors")),
}


@pytest.fixture
def impatient() -> Iterator[None]:
    """End a test that waits, such as for the other end of a pipe."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(200)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_odd_inputs_get_one_line(entrance: str, runs: TrainedRuns, tmp_path: Path, monkeypatch, capsys) -> None:
    program, template, suffixes = ENTRANCES[entrance]
    run = str(runs / "vectors")
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    wrong = {}
    for suffix in suffixes:
        for name, make in ODD.items():
            file = name + suffix
            make(Path(file))
            args = [{"FILE": file, "RUN": run}.get(word, word) for word in template]
            status = program(args)
            said = capsys.readouterr().err
            if status != 2 or said.count("\n") != 1 or "\x1b" in said:
                wrong[file] = status, said
    assert not wrong
    assert not Path("out").exists() or not list(Path("out").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read by root")
def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in (".json", ".py", ".npy"):
        Path(f"x{suffix}").touch(mode=0)
    for args in (["x.json"], ["x.py"], ["arrays", "--data.source", "x.npy"]):
        assert train(args) == 2
        assert capsys.readouterr().err.count("\n") == 1


def configs(folder: Path) -> dict[Path, Callable[[Path], object]]:
    (folder / "a.json").write_text(to_json(Config(encoder=ViT())))
    (folder / "a.toml").write_text('steps = 7\n[data]\nsource = "moons"\n[encoder]\nkind = "mlp"\nwidths = [8, 9]\n')
    (folder / "a.yaml").write_text("steps: 7\ndata:\n  source: moons\nencoder:\n  kind: mlp\n  widths: [8, 9]\n")
    return {folder / name: lambda path: find_config(str(path)) for name in ("a.json", "a.toml", "a.yaml")}


def arrays(folder: Path) -> dict[Path, Callable[[Path], object]]:
    x = np.random.default_rng(0).standard_normal((9, 3))
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", x=x, label=np.array(list("abcdefghi")), log_density=x[:, 0])
    np.savez_compressed(folder / "small.npz", x=x, pair=x + 1)
    return dict.fromkeys((folder / "x.npy", folder / "x.npz", folder / "small.npz"), read_arrays)


def headers(folder: Path) -> dict[Path, Callable[[Path], object]]:
    """What a dry run reads of arrays."""
    return dict.fromkeys(arrays(folder), lambda path: abstract_source(Data(str(path), stream=False, batch_size=4)))


def tables(folder: Path) -> dict[Path, Callable[[Path], object]]:
    x = np.random.default_rng(0).standard_normal((9, 3))
    for name, between in (("x.csv", ","), ("x.tsv", "\t")):
        np.savetxt(folder / name, x, delimiter=between, header=between.join("abc"), comments="")
    parquet.write_table(pa.table(dict(zip("abc", x.T, strict=True))), folder / "x.parquet")
    names = ("x.csv", "x.tsv", "x.parquet")
    return {folder / name: lambda path: read_table(path, Schema()) for name in names}


def pictures(folder: Path) -> dict[Path, Callable[[Path], object]]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    files = [folder / f"x{suffix}" for suffix in (".png", ".jpg", ".webp", ".gif", ".tiff", ".bmp", ".ppm", ".tga")]
    for file in files:
        picture.save(file)
    return dict.fromkeys(files, lambda path: decode(path, 3))


def run_files(run: Path) -> dict[Path, Callable[[Path], object]]:
    write_mixture(run, 40, [0.25, 0.75])
    step = run / "checkpoints" / "40"
    return {
        run / "config.json": lambda path: read_config(path.parent),
        run / "metrics.jsonl": read_rows,
        run / "statistics.npz": lambda path: read_statistics(path.parent),
        run / "mixture.json": lambda path: read_mixture(path.parent, 40),
        step / "metrics" / "metrics": lambda path: values(run),
        step / "progress" / "metadata": lambda path: read_progress(run, 40),
    }


def refusal(use: Callable[[Path], object], path: Path) -> str:
    """What is said about a file, or nothing."""
    try:
        use(path)
    except (ConfigError, Unreadable) as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("files", [configs, arrays, headers, tables, pictures, run_files])
def test_damaged_files_are_read_or_refused(files: Callable, runs: TrainedRuns, tmp_path: Path) -> None:
    """Bits flipped, bytes lost or repeated, files cut: any other exception than `ConfigError` fails the test."""
    folder = Path(shutil.copytree(runs / "checkpointed", tmp_path / "run")) if files is run_files else tmp_path
    for path, use in files(folder).items():
        content = path.read_bytes()
        assert not refusal(use, path)
        found = []
        for seed in range(100 if files is headers else 500):
            path.write_bytes(damaged(content, seed))
            found.append(refusal(use, path))
        path.write_bytes(content)
        assert not any("\n" in said for said in found)
        assert any(found) or path.name in ("metrics", "metrics.jsonl"), path  # of which what is left is used


@pytest.mark.usefixtures("impatient")
def test_a_damaged_checkpoint_says_nothing_else(runs: TrainedRuns, tmp_path: Path, capfd) -> None:
    """Reads that end after one has failed used to print tracebacks of their own."""
    run = Path(shutil.copytree(runs / "checkpointed", tmp_path / "run"))
    for file in (run / "checkpoints" / "40" / "params").rglob("d/*"):
        os.truncate(file, 20)
    capfd.readouterr()
    with pytest.raises(ConfigError, match="is damaged or belongs to another architecture"):
        jepa_jax.load(run)
    assert capfd.readouterr() == ("", "")
    with contextlib.suppress(ValueError), quiet_failure():
        print("Event loop is closed", file=sys.stderr)
        raise ValueError
    assert capfd.readouterr() == ("", "")
    with quiet_failure():
        print("a warning", file=sys.stderr)
    assert capfd.readouterr() == ("", "a warning\n")


@pytest.mark.parametrize("text", ["[1]", "3", "null", '{"window": "x"}', '{"window": [[1, 2, 3]]}', '{"window": [{}]}'])
def test_a_checkpoint_with_a_strange_progress_is_refused(text: str, runs: TrainedRuns, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "checkpointed", tmp_path / "run"))
    (run / "checkpoints" / "40" / "progress" / "metadata").write_text(text)
    config, source = read_config(run)[0], open_source(Data())
    with pytest.raises(ConfigError, match=r"checkpoints/40 is damaged .* to continue from step 20"):
        begin(run, config, make_trainer(config, source), source, training_mesh(config.mesh))
