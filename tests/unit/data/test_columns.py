"""Columns of tables: units, repeated values, dependence, copies, and noise from the distances of neighbours."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.data import Samples, open_source
from jepa_jax.data.columns import continuous, first_copies, neighbour_distances
from jepa_jax.data.in_memory import from_samples
from jepa_jax.errors import ConfigError

RNG = np.random.default_rng(3)


def source_of(tmp_path: Path, x: np.ndarray, **options):
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    return open_source(cfg.Data(str(tmp_path / "x.npy"), noise="local", batch_size=64, **options))


def test_whole_numbers_become_uniform_on_their_cells() -> None:
    x = np.stack([RNG.integers(0, 4, 4000), RNG.standard_normal(4000)], 1).astype(np.float32)
    table = continuous(x)
    off = table.x[:, 0] - x[:, 0]
    assert np.abs(off).max() <= 0.5
    assert off.var() == pytest.approx(1 / 12, rel=0.1)
    assert (table.x[:, 1] == x[:, 1]).all()
    assert len(table.notes) == 1
    assert table.notes[0].startswith("column 0 repeats")


@pytest.mark.parametrize(
    ("change", "says", "degenerate"),
    [
        (lambda x: np.c_[x, np.full(len(x), 7.0)], "column 3 never varies", False),
        (lambda x: np.c_[x, 5 * x[:, 1] - 2], r"columns 1, 3 \(2 in all\) follows from", True),
        (lambda x: np.c_[x, 1e6 + 0.1 * x[:, 0] ** 3], "column 3 varies so little", False),
        (lambda x: x[:150], "150 rows are too few", False),
        (lambda x: np.tile(x[:, :1], (1, 300)) + RNG.standard_normal((len(x), 300)), "300 columns", False),
    ],
)
def test_what_a_density_cannot_say_is_named(change, says: str, degenerate: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2000, 3))
    table = continuous(change(x).astype(np.float32))
    assert any(np.char.find(note, says.split("\\")[0]) >= 0 for note in table.notes), table.notes
    assert table.degenerate == degenerate
    assert continuous(x.astype(np.float32)).notes == ()


def test_copies_are_held_out_together(tmp_path: Path) -> None:
    x = np.repeat(RNG.standard_normal((300, 2)), 2, axis=0)
    assert (first_copies(x) == np.repeat(np.arange(0, 600, 2), 2)).all()
    source = source_of(tmp_path, x, holdout=0.2)
    held, trained = np.asarray(source.probe(1000).x), np.asarray(source.arrays["x"])
    assert len(held) + len(trained) == 600
    assert not {tuple(row) for row in held} & {tuple(row) for row in trained}
    assert any("300 rows are copies" in note for note in source.notes)
    # A column whose values repeat is spread, and its copies are copies all the same.
    mixed = np.c_[np.repeat(RNG.standard_normal(300), 2), np.repeat(RNG.integers(0, 9, 300), 2)].astype(np.float32)
    table = continuous(mixed)
    assert (table.first == np.repeat(np.arange(0, 600, 2), 2)).all()
    assert len(table.notes) == 2
    # Where every value repeats, equal rows are no copies.
    assert (continuous(np.round(mixed)).first == np.arange(600)).all()


def test_noise_follows_the_distance_of_the_tenth_neighbour_in_units_of_each_column(tmp_path: Path) -> None:
    x = RNG.standard_normal((500, 4))
    units = np.array([1e-4, 1.0, 1e3, 1e4])
    plain, scaled = source_of(tmp_path, x), source_of(tmp_path, x * units)
    np.testing.assert_allclose(plain.noise, scaled.noise, rtol=1e-3)
    standard = (x - x.mean(0)) / x.std(0)
    squares = ((standard[:, None] - standard[None]) ** 2).sum(-1)
    np.testing.assert_allclose(plain.noise, 0.1 / 2 * np.sort(np.sqrt(squares), 1)[:, 10], rtol=1e-3)
    example, _ = scaled.draw(scaled.arrays, jax.random.key(0))
    assert example["noise"].shape == (64, 4)
    np.testing.assert_allclose(example["noise"][0] / example["noise"][0, 1], x.std(0) * units / x.std(0)[1], rtol=1e-3)
    assert neighbour_distances(np.zeros((30, 2))).min() > 0  # copies of one row


def test_outliers_do_not_set_the_scale(tmp_path: Path) -> None:
    x = RNG.standard_normal((5000, 2))
    x[3, 0] = 1e6
    source = source_of(tmp_path, x)
    np.testing.assert_allclose(source.scale, 1, rtol=0.05)
    np.testing.assert_allclose(source.mean, 0, atol=0.05)


def test_a_column_is_constant_only_if_it_never_varies(tmp_path: Path) -> None:
    x = np.c_[RNG.standard_normal(500), 1e6 + 0.5 * RNG.standard_normal(500), np.full(500, 0.1)]
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    scale = open_source(cfg.Data(str(tmp_path / "x.npy"))).scale
    np.testing.assert_allclose(scale, [1, 0.5, 1], rtol=0.1)


def test_too_few_rows_to_hold_one_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves none to judge"):
        source_of(tmp_path, RNG.standard_normal((3, 2)), holdout=0.01)


def test_local_noise_is_for_single_vectors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is for vectors"):
        source_of(tmp_path, RNG.standard_normal((20, 4, 4, 1)))
    with pytest.raises(ConfigError, match="a world has a noise of its own"):
        open_source(cfg.Data("moons", noise="local"))


@pytest.mark.parametrize(
    ("units", "ratio"), [((1e4, 1.0, 1e-3), "1e+07"), ((3.0, 1.0, 0.1), None), ((5.0, 1.0, 0.0), None)]
)
def test_rows_of_other_units_are_told(units: tuple[float, ...], ratio: str | None) -> None:
    """Series of three sensors. One that is always 0 has no unit, and pictures have such rows at their border."""
    x = np.random.default_rng(0).standard_normal((50, 3, 16, 1)) * np.array(units)[:, None, None]
    notes = from_samples(Samples(x.astype(np.float32)), cfg.Data("x", batch_size=2, noise=0.0)).notes
    assert [ratio in note for note in notes if "differ in scale" in note] == ([True] if ratio else [])


def test_pictures_have_no_rows_of_other_units() -> None:
    assert not any("differ in scale" in note for note in open_source(cfg.Data("digits")).notes)
