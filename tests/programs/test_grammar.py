"""One grammar of data: every kind of spec is trained on, and the command that training prints scores it."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from PIL import Image
from pyarrow import parquet

from score import __main__ as score_program
from train import __main__ as train_program

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
QUICK = ["--steps", "4", "--data.batch-size", "8", "--monitor.probes", "16", "--monitor.no-figures"]
NETWORK = ["--encoder.widths", "8", "--encoder.dim", "6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files and a TFDS data set of every kind that the grammar names."""
    from jepa_jax.data.sprites_builder.__main__ import main as prepare

    path = tmp_path_factory.mktemp("grammar")
    draw = np.random.default_rng(0)
    np.save(path / "vectors.npy", draw.standard_normal((40, 3)).astype(np.float32))
    np.savez(path / "bytes.npz", x=draw.integers(0, 256, (24, 8, 8, 3), np.uint8), label=np.arange(24) % 2)
    (path / "my photos" / "cats").mkdir(parents=True)
    for i in range(9):
        Image.fromarray(draw.integers(0, 256, (12, 10 + i, 3), np.uint8)).save(path / "my photos" / "cats" / f"{i}.png")
    (path / "list.txt").write_text("".join(f"my photos/cats/{i}.png\n" for i in (5, 2, 7)))
    columns = {name: draw.standard_normal(30) for name in "abc"} | {"id": [f"row {i}" for i in range(30)]}
    parquet.write_table(pyarrow.table(columns), path / "table.parquet")
    pyarrow.csv.write_csv(pyarrow.table(columns), path / "table.csv")
    assert prepare(["--data-dir", str(path / "tfds"), "--config", "small"]) == 0
    return path


@pytest.mark.parametrize(
    ("config", "spec", "options", "rows"),
    [
        ("moons", "moons", [], 50),
        ("arrays_infonce", "vectors.npy", [], 40),
        ("arrays_infonce", "table.csv", [], 30),
        ("arrays_infonce", "table.parquet", ["--data.columns", "b", "c"], 30),
        ("images", "bytes.npz", [], 24),
        ("images", "list.txt", ["--data.size", "8"], 3),
        ("images", "my photos", ["--data.size", "8"], 9),
        ("digits", "digits", [], 50),
        ("sprites_lejepa", "tfds:jepa_sprites/small:test", ["--data.channels", "1", "--data.rho", "None"], 32),
    ],
    ids=["world", "npy", "csv", "parquet", "npz", "list", "folder", "digits", "tfds"],
)
def test_the_next_command_scores_what_was_trained_on(config, spec, options, rows, folder, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    args = [config, "--data.source", spec, "--out", f"runs/on {Path(spec).name}", *QUICK, *NETWORK, *options]
    assert train_program.main(args) == 0
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("next: ")]
    command = shlex.split(line.removeprefix("next: "))
    assert command[:3] == ["python", "-m", "score"]
    assert score_program.main([*command[3:], "--limit", "50", "--views", "2", "--out", "out.csv"]) == 0
    with open("out.csv") as file:
        table = list(csv.DictReader(file))
    assert len(table) == rows
    assert spec[:5] != "table" or [row["id"] for row in table] == [f"row {i}" for i in range(30)]
    assert all(np.isfinite(float(row["score"])) for row in table)
    summary = json.loads(Path("out.json").read_text())
    assert ("spearman" in summary) == (config in ("moons", "sprites_lejepa"))  # the truth lies beside those images


def test_tfds_is_scored_as_it_is_read(folder, monkeypatch) -> None:
    """Rows in the order of the split, each the sample itself, with its exact log-density and its picture."""
    from jepa_jax.data import open_dataset, read_samples
    from jepa_jax.images import squashed

    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
    spec = "tfds:jepa_sprites/small:test"
    samples, dataset = read_samples(spec, 5, preprocessing=squashed((16, 16, 1))), open_dataset(spec)
    assert samples.log_density is not None
    for row in range(5):
        np.testing.assert_array_equal(samples.x[row], dataset[row]["x"])
        assert samples.log_density[row] == dataset[row]["log_density"]
    thumbnail = samples.x.thumbnail(0, 8)  # type: ignore[union-attr]
    assert thumbnail is not None
    assert thumbnail.size == (8, 8)
