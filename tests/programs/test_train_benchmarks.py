"""The benchmarks that train run at small sizes; the minimal step is ours, written by hand."""

import dataclasses
import json

import jax
import pytest

from benchmarks import fidelity, train_device, train_input, train_limits, train_minimal, train_speed
from jepa_jax import config as cfg

PAIRS, CROPS = train_minimal.CASES
STREAM = cfg.Config(
    data=cfg.Data("tfds:none", 4, size=8),
    encoder=cfg.MLP(widths=(16,), dim=4),
    recipe=cfg.Multiview(),
    objective=cfg.Objective(anti_collapse="sigreg", num_slices=8),
    optim=cfg.Optim(compute="bfloat16"),
)


@pytest.fixture(autouse=True)
def promotion():
    """optax mixes dtypes, and code that is written by hand takes no notice."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", [PAIRS, pytest.param(CROPS, marks=pytest.mark.slow)])
def test_the_minimal_step_has_our_losses(name, tmp_path, capsys, monkeypatch):
    config = train_minimal.CASES[name]
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=16))
    monkeypatch.setattr(train_minimal, "CASES", {name: config})
    args = ["--parts", "minimal", "device", "--steps", "2", "--repeats", "1", "--out", str(tmp_path)]
    assert train_speed.main(args) == 0
    assert "device: skipped, it needs an accelerator" in capsys.readouterr().out
    tree = json.loads((tmp_path / "cpu" / "train_speed.json").read_text())
    assert set(tree) == {"about", "minimal"}
    [row] = tree["minimal"]
    assert row["loss_difference"] < train_minimal.TOLERANCE
    assert all(ratio["median"] > 0 for ratio in row["ratio"].values())
    assert "## Our step against a minimal one in JAX" in (tmp_path / "cpu" / "train_speed.md").read_text()


def test_the_limits_part():
    config = dataclasses.replace(
        train_minimal.CASES[PAIRS], data=cfg.Data("mixture_2d", 8), encoder=cfg.MLP(widths=(8,), dim=4)
    )
    row = train_limits.measure(PAIRS, config, steps=2, repeats=1)
    assert set(row["microseconds"]) == {"views", "loss", "loss and gradient", "optimiser", "our step"}
    assert all(each["median"] > 0 for each in row["microseconds"].values())
    assert row["of_limit"] > 0


def test_the_input_part():
    row = train_input.measure(STREAM, files=6, side=16, steps=3)
    assert row["batch"] == 4
    assert 0 <= row["idle_share"]["min"] <= row["idle_share"]["max"] <= 1
    assert min(row["images_per_second"].values()) > 0


def test_the_device_part():
    row = train_device.measure(STREAM, batch=4, steps=2, side=64)
    assert row["images_per_second"] > 0
    assert row["share"] == pytest.approx(row["flops_per_second"] / row["matmul_rate"])
    # Two views of four images; the first layer forwards and for its weights, the second also for its inputs.
    assert row["flops_per_step"] >= 2 * 8 * (2 * 192 * 16 + 3 * 16 * 4)


def test_fidelity(tmp_path, capsys):
    """Each kind of row, after two steps; the same command continues, and finds nothing to do."""
    args = ["--worlds", "mixture_2d", "--objectives", "uniformity", "untrained", "k-NN distance"]
    args += ["--seeds", "1", "--steps", "2", "--probes", "64", "--out", str(tmp_path)]
    assert fidelity.main(args) == 0
    tree = json.loads((tmp_path / "cpu" / "fidelity.json").read_text())
    assert set(tree["cells"]) == {f"mixture_2d/{row}/0" for row in ("uniformity", "untrained", "k-NN distance")}
    assert tree["cells"]["mixture_2d/k-NN distance/0"]["spearman"] > 0.8
    assert "| untrained |" in (tmp_path / "cpu" / "fidelity.md").read_text()
    capsys.readouterr()
    assert fidelity.main(args) == 0
    assert "3 cells of " in capsys.readouterr().err


def test_wrong_arguments(capsys):
    assert train_speed.main(["--parts", "device"]) == 2
    assert "it needs an accelerator" in capsys.readouterr().err
    assert train_speed.main(["--steps", "0"]) == 2
    assert train_speed.main(["--parts", "inputs"]) == 2
