"""The score program on folders of images."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jepa_jax
from jepa_jax.data import LazyImages, Samples, lazy_images, read_samples
from jepa_jax.data import image_folder as folder
from jepa_jax.images.preprocessing import Preprocessing
from score import __main__ as program
from score import inputs, report, scorer, shards
from score import run as story
from score.naming import table_path
from tests.helpers.runs import TrainedRuns

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`

BROKEN = {"b/cut.jpg": "the file is cut short", "b/text.png": "not in a supported image format"}
RECIPE = Preprocessing((8, 8), 9, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), source="a paper")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty whole images and two broken ones, in folders."""
    inside = tmp_path_factory.mktemp("data") / "photos.v2"
    rng = np.random.default_rng(1)
    for i in range(30):
        path = inside / "ab"[i % 2] / f"{i:02d}.{('png', 'jpg', 'webp')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(9, 40, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    content = (inside / "b" / "01.jpg").read_bytes()
    (inside / "b" / "cut.jpg").write_bytes(content[: len(content) // 2])
    (inside / "b" / "text.png").write_text("hello")
    return inside


def score(*args: Any) -> int:
    return program.main([*map(str, args), "--devices", "1"])


def table(out: Path) -> dict[str, dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def without_score(out: Path) -> dict[str, str]:
    """Reasons by id, the same in the table and in the summary."""
    rows = table(out)
    found = {name: row["reason"] for name, row in rows.items() if row["reason"]}
    assert {name for name, row in rows.items() if not row["score"]} == set(found)
    summary = json.loads(out.with_suffix(".json").read_text())
    assert {row["id"]: row["reason"] for row in summary["without_score"]} == found
    assert summary["without_score_count"] == len(found)
    return found


def test_a_folder(runs: TrainedRuns, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.csv"
    assert score(runs / "images", "--data", photos, "--out", out, "--spectra", tmp_path / "s.npz") == 0
    rows = table(out)
    assert list(rows) == sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.*"))
    encoder = jepa_jax.load(runs / "images")
    for name in ("a/00.png", "b/01.jpg", "b/29.webp"):
        with Image.open(photos / name) as picture:
            expected = float(jepa_jax.jepa_score(encoder, encoder.preprocess(picture)))
        assert float(rows[name]["score"]) == pytest.approx(expected, abs=2e-4)
    assert without_score(out) == BROKEN
    summary = json.loads(out.with_suffix(".json").read_text())
    assert Preprocessing.from_dict(summary["preprocessing"]) == encoder.picture_preprocessing
    assert np.load(tmp_path / "s.npz")["id"].tolist() == list(rows)
    for name in ("s.png", "s_extremes.png"):
        with Image.open(tmp_path / name) as picture:
            picture.verify()
    shown = capsys.readouterr()
    assert "2 samples have no score" in shown.out
    assert all(reason in shown.out for reason in BROKEN.values())
    assert shown.err == ""


def test_it_goes_on_after_a_crash(
    runs: TrainedRuns, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.symlink_to(photos)
    args = [runs / "images", "--data", copy, "--batch-size", "8"]
    assert score(*args, "--out", tmp_path / "whole.csv") == 0
    append, counted = shards.Shard.append, []

    def dies_at_the_end(self: shards.Shard, rows: np.ndarray) -> None:
        append(self, rows)
        counted.append(len(rows))
        if sum(counted) == 32:
            raise KeyboardInterrupt

    monkeypatch.setattr(shards.Shard, "append", dies_at_the_end)
    out = tmp_path / "cut.csv"
    assert score(*args, "--out", out) == 1
    counted.clear()
    assert score(*args, "--out", out) == 0
    assert counted == []  # all was scored, and the reasons are read off the files again
    assert out.read_text() == (tmp_path / "whole.csv").read_text()
    assert without_score(out) == BROKEN


def test_rows_of_other_files_do_not_count(runs: TrainedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        Image.new("RGB", (9, 9), (40 * i, 9, 99)).save(tmp_path / f"{i}.png")
    append, counted = shards.Shard.append, []

    def dies(self: shards.Shard, rows: np.ndarray) -> None:
        append(self, rows)
        raise KeyboardInterrupt

    args = [runs / "images", "--data", tmp_path, "--out", tmp_path / "s.csv", "--batch-size", "3"]
    monkeypatch.setattr(shards.Shard, "append", dies)
    assert score(*args) == 1
    Image.new("RGB", (9, 9), (255, 0, 0)).save(tmp_path / "5.png")
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: (counted.append(len(rows)), append(self, rows)))
    assert score(*args) == 0
    assert sum(counted) == 6


def test_the_first_so_many(runs: TrainedRuns, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, opened = folder.decode, set()
    monkeypatch.setattr(folder, "decode", lambda path, *how: (opened.add(path.name), decode(path, *how))[1])
    assert score(runs / "images", "--data", photos, "--limit", "3", "--out", tmp_path / "s.csv") == 0
    assert list(table(tmp_path / "s.csv")) == ["a/00.png", "a/02.webp", "a/04.jpg"]
    assert opened == {"00.png", "02.webp", "04.jpg"}


def test_two_processes(runs: TrainedRuns, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    for process in (1, 0):
        args = ("--processes", 2, "--process", process)
        assert score(runs / "images", "--data", photos, "--out", out, *args) == 0
    assert without_score(out) == BROKEN  # which the other process has met


@pytest.mark.slow
def test_views_along_a_manifold_and_against(runs: TrainedRuns, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    args = [runs / "images", "--data", photos, "--out", out]
    assert score(*args, "--views", 3, "--batch-size", 8) == 0
    assert without_score(out) == BROKEN
    assert all(row["standard_error"] == "" for name, row in table(out).items() if name in BROKEN)
    assert score(*args, "--tangent", 2) == 0
    assert without_score(out) == BROKEN
    assert score(*args, "--against", "inverted", "rotated", "noise", photos / "b") == 0
    summary = json.loads(out.with_suffix(".json").read_text())
    assert set(summary["against"]) == {"inverted", "rotated", "noise", str(photos / "b")}
    assert all(0 <= c["auroc"] <= 1 for kind in summary["against"].values() for c in kind.values())
    assert summary["against_count"] <= 30


def test_too_many_to_hold(
    runs: TrainedRuns, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lazy_images, "available", lambda platform: 1000)
    for option in (("--against", "noise"), ("--tangent", 2)):
        assert score(runs / "images", "--data", photos, "--out", tmp_path / "s.csv", *option) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"{option[0]} needs all 32 images in memory" in error
        assert "--limit" in error


@pytest.mark.parametrize("spec", [".", "../photos.v2", "{}/", "{}/b/.."])
def test_the_name_of_the_table(spec: str, photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(photos)
    (tmp_path / "config.json").write_text('{"sample_shape": [8, 8, 3]}')
    found = table_path(story.Arguments(str(tmp_path), spec.format(photos)), Console())
    assert found == tmp_path / "scores" / "photos.v2.csv"


def test_wrong_input_gets_one_line(
    runs: TrainedRuns, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, data, says in (
        ("vectors", photos, "this encoder takes no images"),
        ("images", tmp_path, "has no images in it"),
        ("images", photos / "missing", "unknown data"),
    ):
        assert score(runs / model, "--data", data) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert says in error


def with_recipe(runs: TrainedRuns, monkeypatch: pytest.MonkeyPatch, **more: Any) -> jepa_jax.Encoder:
    encoder = dataclasses.replace(jepa_jax.load(runs / "images"), preprocessing=RECIPE, **more)
    monkeypatch.setattr(inputs, "load_run", lambda model, weights, step: encoder)
    return encoder


def test_an_encoder_with_its_own_recipe(
    runs: TrainedRuns, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = with_recipe(runs, monkeypatch)
    out = tmp_path / "s.csv"
    assert score(runs / "images", "--data", photos, "--limit", 8, "--out", out) == 0
    assert capsys.readouterr().err == ""
    assert Preprocessing.from_dict(json.loads(out.with_suffix(".json").read_text())["preprocessing"]) == RECIPE
    with Image.open(photos / "a" / "02.webp") as picture:
        x = RECIPE(picture)
    expected = float(jepa_jax.jepa_score(encoder, jnp.asarray(x)))
    assert float(table(out)["a/02.webp"]["score"]) == pytest.approx(expected, abs=2e-4)
    # The same as an array: taken as it is, without a warning, because it looks standardised.
    np.save(tmp_path / "x.npy", x[None])
    out = tmp_path / "x.csv"
    assert score(runs / "images", "--data", tmp_path / "x.npy", "--out", out) == 0
    assert capsys.readouterr().err == ""
    assert float(table(out)["0"]["score"]) == pytest.approx(expected, abs=2e-4)
    assert json.loads(out.with_suffix(".json").read_text())["preprocessing"] is None


@pytest.mark.parametrize(
    ("low", "high", "dtype", "says"),
    [
        (0, 255, np.uint8, "scaled from bytes to [0, 1], and not standardised"),
        (0, 1, np.float32, "passed unchanged, with values from 0 to 1, and not standardised"),
        (0, 255, np.float32, "passed unchanged, with values from 0 to 255, and not standardised"),
        (-2, 2, np.float32, ""),
    ],
)
def test_arrays_for_an_encoder_that_standardises(
    low: float, high: float, dtype: Any, says: str, runs: TrainedRuns, tmp_path: Path
) -> None:
    encoder = dataclasses.replace(jepa_jax.load(runs / "images"), preprocessing=RECIPE)
    np.save(tmp_path / "x.npy", np.linspace(low, high, 5 * 192).reshape(5, 8, 8, 3).astype(dtype))
    samples = read_samples(str(tmp_path / "x.npy"), None)
    told = inputs.raw_pixels(story.Arguments("m", "x.npy"), encoder, samples)
    assert bool(told) == bool(says)
    assert says in told


def test_an_encoder_that_makes_numbers_of_nan(
    runs: TrainedRuns, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = jepa_jax.load(runs / "images").apply
    with_recipe(runs, monkeypatch, apply=lambda params, x: apply(params, jnp.where(jnp.isnan(x), 0.5, x)))
    out = tmp_path / "s.csv"
    assert score(runs / "images", "--data", photos / "b", "--out", out) == 0
    assert without_score(out) == {name.removeprefix("b/"): reason for name, reason in BROKEN.items()}


def test_what_the_pictures_show(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = LazyImages(folder.ImageFolder(photos), RECIPE)
    show = report.thumbnails(Samples(images), RECIPE)
    assert show is not None
    with Image.open(photos / "a" / "00.png") as picture:
        np.testing.assert_array_equal(show(0), picture)  # as it is in the file, being small
    assert [name for i, name in enumerate(images.dataset.names) if show(i) is None] == list(BROKEN)
    standardised = report.thumbnails(Samples(images[:3]), RECIPE)
    assert standardised is not None
    np.testing.assert_array_equal(standardised(1), RECIPE.as_image(images[1]))
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    plain = report.thumbnails(Samples(x / 255), None)
    assert plain is not None
    np.testing.assert_array_equal(plain(2), x[2])
    grey = report.thumbnails(Samples(x[..., :1]), None)
    assert grey is not None
    assert np.asarray(grey(0)).shape == (8, 8)
    assert report.thumbnails(Samples(x[:, 0, 0]), None) is None
    rows = np.zeros(len(images), [("score", "f4"), ("log_density", "f4"), ("clipped", "i4"), ("reason", "u1")])
    rows["score"] = np.arange(len(images))
    for name in BROKEN:
        row = images.dataset.names.index(name)
        rows["score"][row], rows["reason"][row] = np.nan, scorer.UNREADABLE_CODE
    asked: list[int] = []
    out = photos.parent / "s.csv"
    report.draw(out, rows, Samples(images), np.ones((2, 3)), lambda row: (asked.append(row), show(row))[1])
    assert sorted(asked) == [i for i in range(32) if images.dataset.names[i] not in BROKEN]
    assert asked[0] == 29  # the most likely of those with a score


def test_the_first_folder_is_the_label(runs: TrainedRuns, photos: Path, tmp_path: Path) -> None:
    assert score(runs / "images", "--data", photos, "--out", tmp_path / "s.csv", "--curate") == 0
    rows = table(tmp_path / "s.csv")
    assert {name: row["label"] for name, row in rows.items()} == {name: name[0] for name in rows}
    assert {row["label"] for row in rows.values()} == {"a", "b"}
    for row in rows.values():  # the broken files have no place among the others
        assert (row["class_percentile"] != "") == (row["label_disagreement"] != "") == (row["score"] != "")


def test_only_new_files_are_scored(
    runs: TrainedRuns, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, fresh = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "s.csv", tmp_path / "fresh.csv"
    assert score(runs / "images", "--data", data, "--out", out) == 0
    before = table(out)
    (data / "a" / "00.png").unlink()
    shutil.copy(data / "a" / "04.jpg", data / "a" / "05b.jpg")
    Image.open(data / "b" / "29.webp").rotate(90).save(data / "b" / "15.png")  # in place of another picture
    scored: list[int] = []

    def counted(self: scorer.Scorer, start: int, stop: int, *, rows: Any = scorer.Scorer.rows) -> Any:
        scored.extend(range(start, stop))
        return rows(self, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(scorer.Scorer, "rows", counted)
        capsys.readouterr()
        assert score(runs / "images", "--data", data, "--out", out) == 0
    assert "28 of 32 images are as they were" in capsys.readouterr().err
    after = table(out)
    names = list(after)
    assert {names[row] for row in scored} == {"a/05b.jpg", "b/15.png", *BROKEN}
    for name in set(names) - {"a/05b.jpg", "b/15.png"}:
        assert after[name]["score"] == before[name]["score"]
    assert score(runs / "images", "--data", data, "--out", fresh) == 0
    whole = table(fresh)
    assert list(whole) == names
    for name, row in whole.items():
        assert row["reason"] == after[name]["reason"]
        if row["score"]:
            assert float(after[name]["score"]) == pytest.approx(float(row["score"]), abs=1e-4)
