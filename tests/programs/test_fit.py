"""`fit` on data that are read during the training: the encoder of the program, without its folder."""

import io
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.loading import load_run
from train.loop import train


def test_fit_on_a_folder_of_pictures_is_the_program(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        picture = Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8))
        picture.save(tmp_path / "pictures" / f"{i:02}.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    config = Config(
        steps=8,
        data=cfg.Data(str(tmp_path / "pictures"), 8, size=8),
        views=cfg.Crops(global_scale=(0.5, 1.0)),
        encoder=cfg.MLP(widths=(16,), dim=8),
        recipe=cfg.Multiview(),
        objective=cfg.Objective(anti_collapse="sigreg", weight=0.1, num_slices=8),
        monitor=cfg.Monitor(every=0, probes=16, log_every=10, figures=False, labels=False),
    )
    steps: list[int] = []
    with pytest.warns(UserWarning, match=r"1 of 13 .*broken\.png"):
        encoder = jepa_jax.fit(config, callback=lambda step, metrics, encoder: steps.append(step), every=3)
    assert steps == [3, 6, 8]
    train(config, tmp_path / "run", Console(file=io.StringIO()))
    jax.tree.map(np.testing.assert_array_equal, encoder.params, load_run(tmp_path / "run").params)
    assert encoder.preprocessing == jepa_jax.load(tmp_path / "run").preprocessing
    assert encoder.preprocessing is not None
