"""Training in a few lines, from Python."""

import dataclasses

import jax
import numpy as np
import pytest

import jepa_jax
from jepa_jax import config as cfg

SMALL = cfg.Config(steps=30, data=cfg.Data("moons", 32), encoder=cfg.MLP(widths=(16,), dim=8))


def test_fit_is_what_the_steps_are() -> None:
    """The callback sees the means of its window, and the weights of its step, which later steps do not overwrite."""
    seen: list[tuple[int, dict[str, float], jepa_jax.Encoder]] = []
    encoder = jepa_jax.fit(SMALL, callback=lambda *found: seen.append(found), every=12)
    assert [step for step, _, _ in seen] == [12, 24, 30]
    assert set(seen[0][1]) == {"loss", "prediction", "anti_collapse", "grad_norm"}
    jax.tree.map(np.testing.assert_array_equal, encoder.params, seen[-1][2].params)
    assert not np.array_equal(*(jax.tree.leaves(found[2].params)[-1] for found in seen[:2]))
    other = jepa_jax.fit(SMALL)  # no callback changes nothing
    jax.tree.map(np.testing.assert_array_equal, encoder.params, other.params)


def test_samples_may_be_given() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    encoder = jepa_jax.fit(dataclasses.asdict(SMALL), x)  # the options as a dict
    assert (encoder.shape, encoder.dim, encoder.base) == ((3,), 8, "sphere")
    assert np.isfinite(jepa_jax.score_samples(encoder, x[:4].astype(np.float32))).all()


def test_units_change_no_difference_of_scores() -> None:
    """Far from 1, singular values would be clipped at `eps`, or lost, if derivatives were taken by the columns."""
    x = np.random.default_rng(0).integers(-50, 50, (50, 3))  # whole numbers are samples too
    found, *scaled = (
        jepa_jax.score_samples(jepa_jax.fit(SMALL, unit * x), (unit * x).astype(np.float32)) + 3 * np.log(unit)
        for unit in (1, 1e6, 1e-8)
    )
    for other in scaled:
        np.testing.assert_allclose(other, found, atol=1e-3)


def test_options_without_effect_are_said() -> None:
    config = dataclasses.replace(SMALL, steps=1, data=dataclasses.replace(SMALL.data, size=16))
    with pytest.warns(UserWarning, match=r"`data\.size` has no effect on moons: a world draws new samples"):
        jepa_jax.fit(config)
    with pytest.warns(UserWarning, match=r"`data\.size` has no effect on an array: its samples are held in memory"):
        jepa_jax.fit(config, np.random.default_rng(0).standard_normal((50, 3)))


def test_numbers_that_do_not_divide() -> None:
    config = dataclasses.replace(SMALL, optim=cfg.Optim(accumulate=3))
    with pytest.raises(
        jepa_jax.ConfigError, match=r"a batch of 32 cannot be divided .* take `data\.batch_size` 30 or 33"
    ):
        jepa_jax.fit(config)
    with pytest.raises(ValueError, match="every is 0; it must be at least 1"):
        jepa_jax.fit(SMALL, every=0)


def test_options_that_do_not_exist() -> None:
    with pytest.raises(jepa_jax.ConfigError, match=r"unknown field config.data.bach_size; did you mean batch_size"):
        jepa_jax.fit({"data": {"bach_size": 3}})


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.arange(6), r"x should be samples \[N, ...\], not an array of shape \[6\]"),
        ([], "x should be samples"),
        ([[1, 2], [3]], "x should be one array of samples"),
        ([["a"], ["b"]], "x has dtype <U1"),
        (np.array([[None], [1]]), "x has dtype object"),
        (np.full((4, 2), np.nan), "x is not finite in 4 rows"),
        (1e30 * np.arange(8).reshape(4, 2), "too large to train on, in 4 rows"),
        (np.zeros((1, 2)), "leaves 1 rows to train on"),
        (np.zeros((9, 2)), "all samples are the same"),
    ],
)
def test_samples_that_cannot_be_trained_on(x: np.ndarray, says: str) -> None:
    with pytest.raises(jepa_jax.ConfigError, match=says) as caught:
        jepa_jax.fit(SMALL, x)
    assert "\n" not in str(caught.value)


def test_fit_warns_of_rows_of_other_units() -> None:
    x = np.random.default_rng(0).standard_normal((64, 2, 4, 1)).astype(np.float32) * np.array([[1e3], [1]])[:, :, None]
    with pytest.warns(UserWarning, match="differ in scale by a factor of 9e\\+02"):
        jepa_jax.fit(dataclasses.replace(SMALL, steps=1, data=cfg.Data(batch_size=16, noise=0.1)), x.astype(np.float32))
