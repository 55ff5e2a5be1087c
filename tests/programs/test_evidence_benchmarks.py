"""The benchmarks of outliers, of pruning and of the paper's experiments, at small sizes."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import curation, monitor_cost, ood, outliers
from benchmarks.intervals import auroc_interval
from benchmarks.paper import __main__ as paper
from benchmarks.paper import controlled, imagenet
from jepa_jax import config as cfg
from jepa_jax import evaluate
from jepa_jax.loading import load
from tests.helpers import GOLDEN
from tests.helpers.runs import TrainedRuns, with_term

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


@pytest.fixture(autouse=True)
def lenient():
    """Benchmarks take no notice of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_the_interval_of_an_auroc_has_its_coverage() -> None:
    draw, inside = np.random.default_rng(0), 0
    for _ in range(400):
        found = evaluate.auroc(draw.normal(1.0, 1, 30), draw.normal(0, 1, 40))
        low, high = auroc_interval(found, 30, 40)
        assert low <= found <= high
        inside += low <= 0.7602 <= high  # P(N(1, 2) > 0)
    assert 0.92 <= inside / 400 <= 0.99


def test_the_interval_of_an_auroc_has_ends_at_one() -> None:
    assert auroc_interval(1.0, 20, 30) == (pytest.approx(0.916, abs=0.001), 1.0)
    low, high = auroc_interval(0.8, 20, 30)
    assert auroc_interval(0.2, 30, 20) == (pytest.approx(1 - high, abs=1e-6), pytest.approx(1 - low, abs=1e-6))
    assert np.isnan(auroc_interval(float("nan"), 3, 3)).all()


def test_outliers_by_embeddings(
    runs: TrainedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ood, "PATCHES", 20)
    call = [str(runs / "digits"), "--inside", "digits", "--outside", "inverted", "patches"]
    assert ood.main([*call, "--sample", "100", "--out", str(tmp_path)]) == 0
    assert "Inside: digits (held out), 50 samples judged, 50 others as reference." in capsys.readouterr().out
    tree = json.loads((tmp_path / "cpu" / "ood_digits_digits.json").read_text())
    assert set(tree["cells"]) == {"inverted", "patches"}
    found = tree["cells"]["inverted"]
    assert found["count"] == 50 == sum(numbers[0] for numbers in found["counts"])
    for detector in found["detectors"].values():
        assert detector["low"] <= detector["auroc"] <= detector["high"]
    assert found["detectors"]["k-NN, input"]["auroc"] > 0.99  # light and dark are swapped
    assert found["detectors"]["embedding norm"]["auroc"] == 0.5  # on the sphere
    assert tree["about"]["commit"]


def test_complexity_alone_does_not_separate_samples_of_like_complexity() -> None:
    """A detector that is the compressed size sees outliers of another size, and hardly those of the same."""
    draw = np.random.default_rng(0)
    small, other = draw.integers(0, 400, 2000), draw.integers(120, 520, 2000)
    cell = ood.compared({"d": -small.astype(float)}, {"d": -other.astype(float)}, small, other)
    assert cell["detectors"]["d"] == cell["detectors"]["compressed size"]
    assert cell["detectors"]["d"]["auroc"] > 0.7
    assert cell["detectors"]["d"]["quartiles"][0] is None  # no outlier is as small
    assert 0.5 < cell["detectors"]["d"]["quartiles"][1] < 0.65


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--inside", "digits"], "belong together"),
        (["model"], "belong together"),
        (["--sample", "3"], "--sample is 3"),
        (["nowhere", "--inside", "digits", "--outside", "noise"], "nowhere"),
    ],
)
def test_wrong_arguments_of_outliers(args: list[str], words: str, tmp_path: Path, capsys) -> None:
    assert ood.main([*args, "--out", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--nonsense"], "unknown option --nonsense"),
        (["--every", "0"], "--every is 0; it must be from 1 to --steps, 1500"),
        (["--probes", "3"], "--probes is 3; it must be at least 8"),
    ],
)
def test_wrong_arguments_of_the_cost_of_a_monitor(args: list[str], words: str, capsys) -> None:
    assert monitor_cost.main(args) == 2
    assert words in capsys.readouterr().err


def test_rows_that_were_planted() -> None:
    plain, wrong, copied = (curation.SETS[name](0) for name in ("digits", "wrong labels", "copies"))
    np.testing.assert_array_equal(plain.x, wrong.x)
    assert 0.15 < (plain.label != wrong.label).mean() < 0.25
    assert len(copied.x) == len(plain.x)
    distances = np.linalg.norm(
        copied.x.reshape(1200, -1)[:, None, ::8] - copied.x.reshape(1200, -1)[None, :, ::8], axis=2
    )
    assert ((distances < 0.3).sum(axis=1) >= curation.COPIES).mean() > 0.8  # those that occur five times


def test_pruning_keeps_what_ranks_high(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the wrong labels are least likely, pruning them helps, and pruning the others does harm."""
    rows, count = curation.digits(0), 300
    wrong, x, label = np.arange(count) < count // 4, rows.x[:count], rows.label[:count]
    planted = rows._replace(x=x, label=np.where(wrong, (label + 1) % 10, label))
    monkeypatch.setitem(curation.SETS, "wrong labels", lambda seed: planted)
    monkeypatch.setattr(curation, "SHARES", (0.2, 0.75, 1.0))
    monkeypatch.setattr(curation, "ranked_without_labels", lambda *_: (np.where(wrong, 0.0, 1.0), x.reshape(count, -1)))
    call = ["--sets", "wrong labels", "--seeds", "0,1", "--out", str(tmp_path)]
    assert curation.main(call) == 0
    cells = json.loads((tmp_path / "cpu" / "curation.json").read_text())["cells"]["wrong labels"]["0"]
    assert cells["score, lowest removed"][1] > cells["random"][1] + 0.05 > cells["score, highest removed"][1] + 0.1
    assert len({found[-1] for found in cells.values()}) == 1  # all rows
    table = (tmp_path / "cpu" / "curation.md").read_text()
    assert "- score, lowest removed: better than random at 20 %, 75 %" in table
    monkeypatch.setattr(curation, "pruned", lambda *_: pytest.fail("measured again"))
    assert curation.main(call) == 0
    assert curation.main(["--sets", "digit"]) == 2


def test_an_encoder_ranks_the_rows_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(with_term("uniformity"), data=cfg.Data("digits", batch_size=32, holdout=0.5))
    monkeypatch.setattr(curation, "find_config", lambda name: (name, small))
    monkeypatch.setattr(curation, "TRAINED", 60)
    density, z = curation.ranked_without_labels.__wrapped__("digits", 0, 2)
    assert density.shape == (60,)
    assert z.shape == (60, 8)
    assert np.isfinite(density).all()


def test_controlled_experiments(runs: TrainedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlled, "trained", lambda name, steps: load(runs / name))
    monkeypatch.setattr(controlled, "CORRUPTIONS", dict(list(controlled.CORRUPTIONS.items())[:2]))
    call = ["controlled", "--samples", "64", "--pictures", str(tmp_path), "--out", str(tmp_path)]
    assert paper.main(call) == 0
    cells = json.loads((tmp_path / "cpu" / "paper_controlled.json").read_text())["cells"]
    agreement = cells["sprites"]["agreement"]
    assert agreement["exact log-density"]["exact"][0] == pytest.approx(1)
    assert agreement["distance from the centre"]["exact"][0] < -0.3
    assert set(cells["digits"]["corrupted"]["pixels drawn anew, share"]) == {"0.1", "0.25", "0.5", "1.0"}
    table = (tmp_path / "cpu" / "paper_controlled.md").read_text()
    assert "| noise, standard deviation | 0.05 |" in table
    with Image.open(tmp_path / "paper_controlled.png") as picture:
        assert picture.width > 2 * picture.height
    monkeypatch.setattr(controlled, "trained", lambda *_: pytest.fail("trained again"))
    assert paper.main(call) == 0


def test_corruptions_have_no_effect_without_strength() -> None:
    xs = np.random.default_rng(0).random((5, 8, 8, 1)).astype(np.float32)
    for name, (_, corrupt) in controlled.CORRUPTIONS.items():
        np.testing.assert_allclose(corrupt(xs, 0.0, np.random.default_rng(1)), xs, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve images, one of which cannot be read."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(24):
        path = folder / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (20, 24, 3), np.uint8)).save(path)
    (folder / "dog" / "broken.png").write_text("no picture")
    return folder


def test_figure_one(
    runs: TrainedRuns, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An encoder, a copy of it, and foreign weights with random numbers."""
    shutil.copytree(runs / "images", tmp_path / "copy")
    models = [str(runs / "images"), str(tmp_path / "copy"), str(GOLDEN / "dinov2_hf")]
    call = ["imagenet", *models, "--images", str(images), "--classes", "dog", "--count", "3"]
    call += ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    assert paper.main(call) == 0
    cells = json.loads((tmp_path / "cpu" / "paper_imagenet.json").read_text())["cells"]
    same = cells["dog"]["images, copy"]
    assert same["count"] == 12  # without the broken one
    assert same["spearman"][0] == pytest.approx(1)
    assert (same["least"], same["most"]) == (3, 3)
    assert abs(cells["dog"]["copy, dinov2_hf"]["spearman"][0]) < 1
    assert "dinov2_hf, compressed size" in cells["dog"]
    assert "| images, copy | 1.000 | 1.000 (1.000 to 1.000) |" in capsys.readouterr().out
    with Image.open(tmp_path / "work" / "dog.png") as picture:
        picture.verify()
    monkeypatch.setattr(imagenet, "score_batches", lambda *_, **__: pytest.fail("scored again"))
    assert paper.main(call) == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["imagenets"], "did you mean imagenet"),
        ([], "unknown experiment"),
        (["controlled", "--parts", "sprite"], "did you mean sprites"),
        (["imagenet", "MODEL", "--images", "nowhere"], "nowhere is not a folder"),
        (["imagenet", "MODEL", "MODEL", "--images", "."], "named twice"),
    ],
)
def test_wrong_arguments_of_the_paper(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper.main(args) == 2
    assert words in capsys.readouterr().err


def test_files_of_adbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder: means over tasks and over seeds, of AUROC and of average precision."""
    draw = np.random.default_rng(0)
    for name, far in (("1_near", 1.0), ("2_far", 9.0)):
        x = np.concatenate([draw.normal(0, 1, (60, 3)), draw.normal(far, 1, (12, 3))])
        np.savez(tmp_path / f"{name}.npz", X=x, y=np.repeat([0, 1], [60, 12]))
    for name in ("load_breast_cancer", "load_wine", "load_digits"):  # one small task a class in place of each
        monkeypatch.setattr(outliers, name, lambda return_X_y: (draw.normal(0, 1, (20, 3)), np.arange(20) % 2))
    call = ["--rows", "k-NN", "LOF", "--seeds", "0-1", "--out", str(tmp_path)]
    assert outliers.main([*call, "--folder", str(tmp_path)]) == 0
    cells = json.loads((tmp_path / "cpu" / "outliers.json").read_text())["cells"]
    assert cells["2_far"]["0"]["k-NN"]["auroc"] == 1 == cells["2_far"]["1"]["k-NN"]["ap"]
    assert cells["1_near"]["0"]["k-NN"]["auroc"] < 1
    expected = np.mean([found[seed]["k-NN"]["auroc"] for found in cells.values() for seed in ("0", "1")])
    table = (tmp_path / "cpu" / "outliers.md").read_text()
    assert table.count("| **mean** (over seeds) |") == 3
    assert f"| **mean** (over seeds) | {expected:.3f} (" in table
    (tmp_path / "empty").mkdir()
    assert outliers.main([*call, "--folder", str(tmp_path / "empty")]) == 2
