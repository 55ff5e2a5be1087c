"""Near samples as partners: brute-force neighbours, rows that are held out, copies, and what has no neighbours."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.data import columns, open_source
from jepa_jax.data.columns import nearest_rows
from jepa_jax.errors import ConfigError
from jepa_jax.resolve import resolve

X = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)


def by_hand(x: np.ndarray, count: int) -> np.ndarray:
    """Nearest other rows by all distances in float64."""
    apart = np.square(x[:, None].astype(np.float64) - x[None]).sum(-1)
    np.fill_diagonal(apart, np.inf)
    return np.sort(apart.argsort(axis=1)[:, :count], axis=1)


def test_neighbours_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "NEIGHBOUR_QUERIES", 7)
    np.testing.assert_array_equal(np.sort(nearest_rows(X, 4), axis=1), by_hand(X, 4))


def test_no_row_is_its_own_neighbour_among_copies_and_among_some(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = np.repeat(X[:5], 12, axis=0)
    near = nearest_rows(copies, 8)
    assert (near != np.arange(60)[:, None]).all()
    assert (near // 12 == np.arange(60)[:, None] // 12).all()
    monkeypatch.setattr(columns, "NEIGHBOUR_SAMPLES", 20)
    some = nearest_rows(X, 4)
    assert len(np.unique(some)) <= 20
    assert (some != np.arange(60)[:, None]).all()
    assert all(len(set(row)) == 4 for row in some.tolist())


def test_partners_are_near_rows_that_are_trained_on(rows: Callable[..., str], key: jax.Array) -> None:
    x = X * [1.0, 1.0, 1e-3]  # in deviations of the columns, which are those of X within a few hundredths
    held = np.arange(60) % 4 == 0
    source = open_source(cfg.Data(rows(x=x, held_out=held), neighbours=3, batch_size=20))
    assert source.noise == 0.0
    assert not source.noise_is_local
    trained = np.asarray(source.arrays["x"])
    allowed = by_hand(trained / trained.std(axis=0), 3)
    met: list[set[int]] = [set() for _ in trained]
    draw = jax.jit(source.draw)
    for step in range(40):
        examples, _ = draw(source.arrays, jax.random.fold_in(key, step))
        assert set(examples) == {"x", "pair"}
        for one, other in zip(np.asarray(examples["x"]), np.asarray(examples["pair"]), strict=True):
            (row,), (partner,) = (np.flatnonzero((trained == z).all(axis=1)) for z in (one, other))
            met[row].add(int(partner))
    assert [sorted(partners) for partners in met] == allowed.tolist()


def test_the_samples_of_a_step_are_those_without_neighbours(rows: Callable[..., str], key: jax.Array) -> None:
    path = rows(x=X)
    alone, near = (open_source(cfg.Data(path, noise=0.1, neighbours=n, batch_size=20)) for n in (0, 2))
    (one, keys), (two, same) = (source.draw(source.arrays, key) for source in (alone, near))
    np.testing.assert_array_equal(one["x"], two["x"])
    assert (jax.random.key_data(keys) == jax.random.key_data(same)).all()


@pytest.mark.parametrize(
    ("arrays", "neighbours", "says"),
    [
        ({"pair": X}, 2, "has its own pair of each sample"),
        ({"condition": X}, 2, "has its own condition of each sample"),
        ({"categories": np.array([9, 0, 0]), "x": np.abs(X).astype(np.int32)}, 2, "has columns of categories"),
        ({}, 60, "is 60, but 60 samples are trained on"),
    ],
)
def test_samples_without_neighbours_are_refused(
    rows: Callable[..., str], arrays: dict[str, np.ndarray], neighbours: int, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        open_source(cfg.Data(rows(**({"x": X} | arrays)), neighbours=neighbours, noise=0.1))


def test_worlds_and_recipes_of_one_view_have_no_neighbours(rows: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="the world mixture_2d draws new ones"):
        open_source(cfg.Data("mixture_2d", neighbours=2))
    images = np.random.default_rng(0).random((40, 8, 8, 1)).astype(np.float32)
    data = cfg.Data(rows(x=images), neighbours=2)
    source, vit = open_source(data), cfg.ViT(width=24, depth=1)
    one_view = Config(data=data, encoder=vit, recipe=cfg.Masked())
    halves = Config(data=data, encoder=vit, recipe=cfg.Masked(pair_weight=1.0, pair_of="masks"))
    crops = Config(data=data, encoder=vit, views=cfg.Crops(global_views=2, local_views=0))
    for config in (one_view, halves, crops):
        with pytest.raises(ConfigError, match="makes second views of other samples, and there are none here"):
            resolve(config, source)
    resolve(Config(data=data, encoder=vit, recipe=cfg.Masked(pair_weight=1.0)), source)


def test_a_density_that_is_fitted_to_all_views_takes_none_of_neighbours(rows: Callable[..., str]) -> None:
    data = cfg.Data(rows(x=X), neighbours=2)
    source, map_ = open_source(data), cfg.Triangular()
    entropy = Config(data=data, encoder=map_, objective=cfg.Objective("entropy"))
    unpredicted = Config(data=data, objective=cfg.Objective("infonce", prediction_weight=0.0))
    for config in (entropy, unpredicted):
        with pytest.raises(ConfigError, match="would distort a density that is fitted to all views"):
            resolve(config, source)
    resolve(Config(data=data, objective=cfg.Objective("infonce")), source)


def test_what_is_taken_often_and_copies_are_told(rows: Callable[..., str]) -> None:
    hub = np.concatenate([np.zeros((1, 6)), np.eye(6), -np.eye(6)]).astype(np.float32)  # nearest to the twelve others
    (note,) = open_source(cfg.Data(rows(x=hub), neighbours=1)).notes
    assert "one is taken 12.0 times as often as a sample is" in note
    copies = open_source(cfg.Data(rows(x=np.repeat(X, 2, axis=0)), neighbours=2)).notes[-1]
    assert copies.startswith("50.0% of the near samples are copies")
