"""Columns at 1e9 that vary by 1e-3: nothing of them is lost from the file to the scores, or it is said."""

import dataclasses
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import jepa_jax
from jepa_jax import JEPADensity
from jepa_jax import config as cfg
from jepa_jax.data import open_source
from jepa_jax.data.offsets import automatic_offset, offset_notes
from jepa_jax.errors import ConfigError
from jepa_jax.run_dir import read_config
from score import __main__ as program
from tests.helpers.runs import SMALL
from tests.helpers.tables import read
from train.loop import train

RNG = np.random.default_rng(5)
ROWS = np.c_[RNG.standard_normal(300), RNG.standard_normal((300, 2)) @ [[1, 0.5], [0, 1]]]
SHIFTED = ROWS * [1e-3, 1, 1] + [1e9, 0, -1e9]  # columns of deviation 1e-3, 1 and 1


def scores(folder: Path, data: Path) -> tuple[np.ndarray, str]:
    """Scores of a run on the data it was trained on, and what the training said."""
    said = io.StringIO()
    config = dataclasses.replace(SMALL, data=cfg.Data(str(data), batch_size=32, noise=1e-4))
    train(config, folder, Console(file=said, soft_wrap=True))
    assert program.main([str(folder), "--data", str(data), "--out", str(folder / "s.csv")]) == 0
    return np.array([float(row["score"]) for row in read(folder / "s.csv")]), said.getvalue()


@pytest.mark.slow
def test_from_the_file_to_the_scores(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", SHIFTED)
    found, said = scores(tmp_path / "run", tmp_path / "x.npy")
    offset = read_config(tmp_path / "run")[0].data.offset
    assert offset == pytest.approx([1e9, 0, -1e9], abs=1)
    assert offset[1] == 0
    assert "each of the columns 0, 2 (2 in all) varies so little around a large mean" in said
    np.save(tmp_path / "less.npy", SHIFTED - np.array(offset))
    expected, said = scores(tmp_path / "less", tmp_path / "less.npy")
    assert read_config(tmp_path / "less")[0].data.offset == ()
    assert "around a large mean" not in said
    np.testing.assert_array_equal(found, expected)
    summary = json.loads((tmp_path / "run" / "s.json").read_text())
    assert "around a large mean" in summary["notes"][0]
    assert summary["encoder_trained_on_them"] == "trained on"
    # In Python it takes the samples as they are; what float32 has of them is not lost again.
    encoder, less = jepa_jax.load(tmp_path / "run"), jepa_jax.load(tmp_path / "less")
    with jax.enable_x64(True):
        z = encoder(jnp.asarray(SHIFTED[7]))
    np.testing.assert_allclose(z, less(jnp.asarray(SHIFTED[7] - np.array(offset), jnp.float32)), rtol=1e-5, atol=1e-6)
    x = SHIFTED[7].astype(np.float32)
    np.testing.assert_allclose(
        encoder(jnp.asarray(x)), less(jnp.asarray(x - np.array(offset), jnp.float32)), rtol=1e-4, atol=1e-4
    )


def test_tables_have_it_too(tmp_path: Path) -> None:
    names = ["time", "b", "c"]
    pq.write_table(pa.table(dict(zip(names, SHIFTED.T, strict=True))), tmp_path / "x.parquet")
    np.savetxt(tmp_path / "x.csv", SHIFTED, "%.17g", delimiter=",", header=",".join(names), comments="")
    for name in ("x.parquet", "x.csv"):
        source = open_source(cfg.Data(str(tmp_path / name)))
        assert source.offset == automatic_offset(SHIFTED)
        np.testing.assert_array_equal(source.arrays["x"], (SHIFTED - np.array(source.offset)).astype(np.float32))
        assert "columns time, c (2 in all) varies so little" in source.notes[0]
        scale = np.asarray(source.scale)
        np.testing.assert_allclose(scale, SHIFTED.std(0), rtol=1e-4)
    given = open_source(cfg.Data(str(tmp_path / "x.csv"), offset=(1e9, 0.0, 0.0)))
    assert given.offset == (1e9, 0, 0)
    with pytest.raises(ConfigError, match=r"`data.offset` has 1 numbers, and a sample has shape \[3\]"):
        open_source(cfg.Data(str(tmp_path / "x.csv"), offset=(1e9,)))


@pytest.mark.parametrize("frame", [False, True])
def test_fit_has_it_and_its_encoders_take_raw_samples(frame: bool) -> None:
    config = dataclasses.replace(SMALL, data=cfg.Data(batch_size=32, noise=1e-4))
    offset, seen = np.array(automatic_offset(SHIFTED)), []
    data = pa.table(dict(zip(("time", "b", "c"), SHIFTED.T, strict=True))) if frame else SHIFTED
    encoder = jepa_jax.fit(config, data, callback=lambda step, metrics, encoder: seen.append(encoder))
    less = jepa_jax.fit(config, SHIFTED - offset)
    with jax.enable_x64(True):
        for row in SHIFTED[:3]:
            expected = less(jnp.asarray(row - offset, jnp.float32))
            for found in (encoder, *seen):
                np.testing.assert_allclose(found(jnp.asarray(row)), expected, rtol=1e-5, atol=1e-6)
    assert seen


@pytest.mark.slow
def test_the_estimator(tmp_path: Path) -> None:
    model = JEPADensity(steps=20, members=1).fit(SHIFTED)
    offset = np.array(model.config_.data.offset)
    plain = JEPADensity(steps=20, members=1).fit(SHIFTED - offset)
    found = model.score_samples(SHIFTED)
    np.testing.assert_array_equal(found, plain.score_samples(SHIFTED - offset))
    np.testing.assert_allclose(model.sample(9, 0) - offset, plain.sample(9, 0), atol=1e-6)
    model.save(tmp_path / "m")
    np.testing.assert_allclose(JEPADensity.load(tmp_path / "m").score_samples(SHIFTED), found)


def test_what_float32_has_lost_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", SHIFTED.astype(np.float32))
    (note,) = (note for note in open_source(cfg.Data(str(tmp_path / "x.npy"))).notes if "spacing" in note)
    assert "columns 0, 2 (2 in all) varies by less than the spacing of float32 at its size (64 at 1e+09)" in note
    fine = np.c_[ROWS[:, 0], np.full(300, 0.1), np.full(300, 2020.0)]
    assert offset_notes(fine.astype(np.float32), (), ()) == ()
    assert automatic_offset(fine) == automatic_offset(SHIFTED.astype(np.float32)) == ()
    times = np.c_[np.arange(300), np.full(300, 1_700_000_000)]  # whole numbers of 64 bits
    assert automatic_offset(times) == (0, 1_700_000_000)
