"""Kinds of numbers, labels and samples in a file: what is meant by them, and those that cannot be trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_jax import config as cfg
from jepa_jax.data import open_source, read_arrays
from jepa_jax.errors import ConfigError

X = np.random.default_rng(4).standard_normal((30, 3))


@pytest.mark.parametrize(
    ("x", "meant"),
    [
        (X.astype(np.float16), X.astype(np.float16)),
        (X.astype(">f8"), X),
        (X.astype(">f4"), X),
        (X.astype(np.longdouble), X),
        (np.asfortranarray(X), X),
        (X[::-1], X[::-1]),
        ((10 * X).astype(np.int64), (10 * X).astype(np.int64)),
        ((10 * X).astype(">i2"), (10 * X).astype(np.int64)),
        (X > 0, X > 0),
        (1e6 * X, 1e6 * X),
        (1e-8 * X, 1e-8 * X),
    ],
    ids=[
        "half",
        "big-endian",
        "big-endian single",
        "long",
        "Fortran",
        "backwards",
        "whole",
        "short",
        "bool",
        "1e6",
        "1e-8",
    ],
)
def test_numbers_of_any_kind_are_read(x: np.ndarray, meant: np.ndarray, rows: Callable[..., str]) -> None:
    found = read_arrays(Path(rows(x=x))).x
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(found), meant.astype(np.float32))


def test_only_the_arrays_of_the_grammar_are_read(rows: Callable[..., str]) -> None:
    """Objects beside them would have to be unpickled, and large arrays would take memory."""
    assert (read_arrays(Path(rows(x=X, names=np.array([{}], object)))).x == X.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("label", "numbered"),
    [
        (["b", "a", "b", "c"], [1, 0, 1, 2]),
        ([b"b", b"a", b"b", b"c"], [1, 0, 1, 2]),
        ([7, 3, 7, 9], [1, 0, 1, 2]),
        ([7.0, 3.0, 7.0, 9.0], [1, 0, 1, 2]),
        ([True, False, True, True], [1, 0, 1, 1]),
        ([5, -1, 2, -7], [1, -1, 0, -1]),
        ([5.0, np.nan, 2.0, -np.inf], [1, -1, 0, -1]),
        ([-1, -1, -1, -1], [-1, -1, -1, -1]),
        ([0.5, 1.0, 2.0, 3.0], [-1, -1, -1, -1]),  # a measurement, not a class
        (np.array([200, 3, 200, 9], np.uint8), [2, 0, 2, 1]),
    ],
)
def test_labels_mean_what_their_file_says(label: Any, numbered: list[int], rows: Callable[..., str]) -> None:
    samples = read_arrays(Path(rows(x=X[:4], label=np.array(label))))
    assert samples.numbered_label is not None
    assert samples.numbered_label.tolist() == numbered
    assert samples.classes == (max(numbered) + 1 or None)


def test_samples_without_a_label_are_not_probed(rows: Callable[..., str]) -> None:
    label = np.arange(30) % 3 - 1
    source = open_source(cfg.Data(rows(x=X, label=label), holdout=0.3, batch_size=4))
    assert source.labelled is not None
    x, fit = source.labelled(100)
    assert set(fit.tolist()) == {0, 1}
    known = {tuple(row): n for row, n in zip(X.astype(np.float32).tolist(), label.tolist(), strict=True)}
    assert [known[tuple(row)] for row in x.tolist()] == fit.tolist()
    nobody = open_source(cfg.Data(rows(x=X, label=np.full(30, -1)), holdout=0.3, batch_size=4))
    assert nobody.labelled is None


@pytest.mark.parametrize(
    "x",
    [np.ones((30, 3)), np.full((30, 2, 2, 1), 0.5), (1e9 + X).astype(np.float32), 1e-30 * X, np.repeat(X[:1], 9, 0)],
    ids=["ones", "images", "lost in float32", "tiny", "copies"],
)
@pytest.mark.parametrize("noise", [None, "local"])
def test_samples_that_are_all_the_same_have_no_density(x: np.ndarray, noise: Any, rows: Callable[..., str]) -> None:
    if noise == "local" and x.ndim != 2:
        noise = 0.1
    with pytest.raises(ConfigError, match="all samples are the same, so that there is no density"):
        open_source(cfg.Data(rows(x=x), noise=noise))


@pytest.mark.parametrize(
    ("shades", "holdout", "says"),
    [
        ([0], 0.0, "leaves 1 images to train on; training needs at least 2"),
        ([7, 7, 7], 0.0, "all samples are the same"),
        ([0, 9, 9, 9], 0.5, "leaves 1 images to train on"),
    ],
)
def test_folders_that_cannot_be_trained_on(shades: list[int], holdout: float, says: str, tmp_path: Path) -> None:
    for number, shade in enumerate(shades):
        Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(ConfigError, match=says):
        open_source(cfg.Data(str(tmp_path), size=8, holdout=holdout))


@pytest.mark.parametrize("factor", [1e-15, 1e-8, 1e6, 1e12])
def test_standardising_is_exact_at_any_size(factor: float, rows: Callable[..., str]) -> None:
    x = (factor * (X + np.array([0, 5, 1e5]))).astype(np.float32)
    source = open_source(cfg.Data(rows(x=x), batch_size=4))
    np.testing.assert_allclose(np.asarray(source.mean), x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(source.scale), x.std(0, dtype=np.float64), rtol=1e-6)


def test_numbers_that_cannot_be_squared_are_not_trained_on(rows: Callable[..., str]) -> None:
    """They are scored, where their rows get no score, and the others stay."""
    x = X.astype(np.float32)
    x[7, 1] = -1e30
    assert (read_arrays(Path(rows(x=x))).x == x).all()
    with pytest.raises(ConfigError, match=r"beyond 1e\+18, too large to train on, in 1 rows, the first is row 7"):
        open_source(cfg.Data(rows(x=x)))
