"""What is read from frozen embeddings: retrieval, regression, few labels, second-order features, control."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax.evaluate import label_budget, retrieval, ridge_r2, second_order, share_kept

DRAW = np.random.default_rng(0)


def test_a_prediction_that_is_its_target_has_rank_0() -> None:
    target = DRAW.standard_normal((700, 4, 3))
    found = retrieval(3 * target, target)
    assert found.recall == {1: 1.0, 5: 1.0, 10: 1.0}
    assert found.rank == 0
    assert found.chance[5] == 5 / 700


def test_chance_has_the_middle_rank() -> None:
    found = retrieval(DRAW.standard_normal((2000, 8)), DRAW.standard_normal((2000, 8)), at=(1, 200))
    assert found.rank == pytest.approx(0.5, abs=4 / np.sqrt(12 * 2000))
    assert found.recall[200] == pytest.approx(0.1, abs=0.03)


def test_equal_targets_share_their_ranks() -> None:
    """A collapsed target is no success: all are as near as the own one."""
    found = retrieval(DRAW.standard_normal((101, 5)), np.ones((101, 5)))
    assert found.rank == pytest.approx(0.5)
    assert found.recall[1] == 0


def test_the_rank_of_a_known_order() -> None:
    angles = np.array([0.0, 0.1, 0.3, 1.0])
    points = np.stack([np.cos(angles), np.sin(angles)], 1)
    moved = np.stack([np.cos(angles + 0.08), np.sin(angles + 0.08)], 1)  # the first is now nearer to the second
    assert retrieval(moved, points, at=(1, 2)).recall == {1: 0.75, 2: 1.0}
    assert retrieval(moved, points).rank == pytest.approx(1 / 4 / 3)


def test_ridge_reads_a_linear_map_and_nothing_from_noise() -> None:
    z, y = DRAW.standard_normal((600, 10)), DRAW.standard_normal((10, 2))
    assert ridge_r2(z[:400], (z @ y)[:400], z[400:], (z @ y)[400:]) == pytest.approx(1, abs=1e-4)
    noise = DRAW.standard_normal(600)
    assert -0.05 < ridge_r2(z[:400], noise[:400], z[400:], noise[400:]) < 0.05
    half = (z @ y)[:, 0] / np.linalg.norm(y[:, 0]) + noise
    assert ridge_r2(z[:400], half[:400], z[400:], half[400:]) == pytest.approx(0.5, abs=0.12)
    assert np.isnan(ridge_r2(z[:400] * np.nan, noise[:400], z[400:], noise[400:]))


def test_more_labels_are_better_and_draws_are_the_same() -> None:
    label = np.arange(900) % 3
    z = 1.5 * np.eye(3)[label] + DRAW.standard_normal((900, 3))
    few, many = (label_budget(z[:600], label[:600], z[600:], label[600:], shots=n) for n in (2, 100))
    assert many.mean > few.mean
    assert many.deviation < few.deviation
    assert few == label_budget(z[:600], label[:600], z[600:], label[600:], shots=2)
    with pytest.raises(ValueError, match="fewer than 300"):
        label_budget(z[:600], label[:600], z[600:], label[600:], shots=300)


def test_second_order_features_are_covariances() -> None:
    x = DRAW.standard_normal((2, 3, 50))
    found = second_order(x)
    np.testing.assert_allclose(found[1], np.cov(x[1], bias=True)[np.triu_indices(3)], rtol=1e-10)
    centred = x[0] - x[0].mean(1, keepdims=True)
    lagged = second_order(x, lag=2).reshape(2, 3, 3)
    assert lagged[0, 1, 2] == pytest.approx((centred[1, :48] * centred[2, 2:]).mean())
    assert second_order(x.reshape(2, 3, 50, 1)).shape == (2, 6)
    with pytest.raises(ValueError, match="not"):
        second_order(x[:, :, :1])


def test_an_unstable_plant_is_kept_by_messages_or_by_a_model() -> None:
    """x' = 1.5 x + u + noise, u = -1.5 x, from 0: with a message in each step x is the noise of one step."""

    def kept(every: int, predict, bound: float) -> float:
        return share_kept(
            move=lambda x, u, key: 1.5 * x + u + 0.1 * jax.random.normal(key, ()),
            sense=lambda x, key: x,
            act=lambda message: -1.5 * message,
            predict=predict,
            kept=lambda x: jnp.abs(x) < bound,
            start=jnp.zeros(()),
            key=jax.random.key(0),
            every=every,
            runs=50,
            steps=100,
        )

    assert kept(1, lambda m, u: m, 0.6) == 1
    assert kept(8, lambda m, u: 1.5 * m + u, 14.0) == 1  # its own noise grows between messages, and no more
    assert kept(8, lambda m, u: m, 14.0) == 0  # the old message is wrong by more and more
    with pytest.raises(ValueError, match="every 0"):
        kept(0, lambda m, u: m, 1.0)
