"""Training that starts from the weights of another model: what is taken, what is kept, what is refused."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.initial_weights import description, with_initial_weights
from jepa_jax.recipes import build_networks
from tests.helpers import GOLDEN
from tests.helpers.runs import SMALL, TrainedRuns
from train.__main__ import main

DINO = GOLDEN / "dinov2_hf_registers"
STILL = ("--optim.lr", "1e-12", "--optim.ema", "0", "--steps", "1")  # too small a step to be seen
QUICK = ("--data.batch-size", "4", "--monitor.probes", "8", "--monitor.no-figures", "--monitor.every", "0")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (24 + number, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_foreign_encoder_is_tuned_to_pictures(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Where training does not move, the run is the model: its numbers from a picture, all of its preparation too."""
    out, options = (
        tmp_path / "run",
        ["--data.source", str(pictures), "--init-from", str(DINO), "--data.size", "16", *QUICK],
    )
    assert main(["images", *options, *STILL, "--out", str(out)]) == 0
    assert f"starts from {DINO}: its encoder" in capsys.readouterr().err
    run, model, picture = jepa_jax.load(out), jepa_jax.load(DINO, image_size=16), Image.open(pictures / "3.png")
    assert not run.preprocess(picture).min() < 0 <= run.preprocess(picture).max() <= 1
    np.testing.assert_allclose(run(run.preprocess(picture)), _infonce(model(model.preprocess(picture))), atol=2e-5)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["init_from"], summary["init_from_taken"], summary["init_from_anew"]) == (str(DINO), "encoder", "")


def _infonce(z: jax.Array) -> jax.Array:
    """The term acts on the sphere, which the output of the new run is."""
    return z / np.linalg.norm(z)


def test_a_predictor_starts_anew() -> None:
    """Patches are hidden from a foreign encoder as from one of our own."""
    config = cfg.Config(init_from=str(DINO), recipe=cfg.Masked(predictor_width=12), data=cfg.Data("digits"))
    config, initial = with_initial_weights(config)
    assert initial is not None
    assert description(initial, config)["anew"] == ["predictor"]
    assert set(build_networks(config, initial.shape)) == {"encoder", "predictor"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--init-from", "nowhere"], "nowhere does not exist; a model is"),
        (["--init-from", "README.md"], "README.md"),
        (
            ["--init-from", str(DINO), "--encoder.kind", "vit", "--encoder.width", "64"],
            "`encoder.width` is 64, and that",
        ),
        (["--init-from", str(DINO), "--encoder.dim", "5"], "--encoder.dim is 5, and that of"),
        (["--init-from", str(DINO), "--encoder.kind", "triangular"], "--encoder.kind is triangular, and that of"),
        (["--init-from", str(DINO), "--data.size", "17"], "17"),
        (["--encoder.kind", "pretrained"], "--encoder.kind pretrained needs --init-from"),
    ],
)
def test_what_contradicts_is_one_line(
    options: list[str], says: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["images", "--data.source", str(pictures), *QUICK, *options, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert says.replace("`encoder.width`", "--encoder.width") in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_from_python(runs: TrainedRuns) -> None:
    """`fit` starts from the weights, with the constants of their input; a choice of another encoder is an error."""
    x = 5 + np.random.default_rng(0).random((50, 2))
    start = dataclasses.replace(SMALL, steps=1, optim=cfg.Optim(lr=1e-12), init_from=str(runs / "sphere"))
    start = dataclasses.replace(start, encoder=cfg.MLP(), objective=cfg.Objective())
    found, model = jepa_jax.fit(start, x), jepa_jax.load(runs / "sphere")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), found.params, model.params)
    with pytest.raises(jepa_jax.ConfigError, match=r"`encoder.dim` is 9, and that of .*sphere is 8"):
        jepa_jax.fit(dataclasses.replace(start, encoder=cfg.MLP(dim=9)), x)
    with pytest.raises(jepa_jax.ConfigError, match=r"takes samples of shape \[2\], and .* have shape \[3\]"):
        jepa_jax.fit(start, x[:, [0, 1, 1]])
