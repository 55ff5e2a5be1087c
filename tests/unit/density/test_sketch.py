"""A cheap estimate of the score, with its error."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from jepa_jax import Encoder
from jepa_jax.density import jacobian, jepa_score, score_samples
from jepa_jax.density.sketch import (
    calibrated_sketch,
    random_directions,
    sketch_score,
)
from tests.helpers.maps import apply_linear, apply_two_layers, rng, samples, two_layer_weights, two_layers


def apply_sphere(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    z = apply_two_layers(a, b, x)
    return z / jnp.sqrt(jnp.sum(z**2))


# The estimate


def test_directions_are_orthonormal(key: jax.Array) -> None:
    p = random_directions(key, 5, 9)
    np.testing.assert_allclose(p @ p.T, np.eye(5), atol=1e-6)
    with pytest.raises(ValueError, match=r"p is 10.*1 \.\. 9"):
        random_directions(key, 10, 9)


def test_sketch_is_the_log_volume_of_some_directions(key: jax.Array) -> None:
    f, x, p = two_layers(8, 20), samples(1, 20)[0], random_directions(key, 3, 8)
    exact = np.linalg.svd(np.asarray(p, np.float64) @ np.asarray(jacobian(f, x), np.float64), compute_uv=False)
    assert float(sketch_score(f, x, p)) == pytest.approx(np.log(exact).sum(), abs=1e-5)
    whole = random_directions(key, 8, 8)
    assert float(sketch_score(f, x, whole)) == pytest.approx(float(jepa_score(f, x)), abs=1e-5)
    for wrong in (p[:, :5], p[0]):
        with pytest.raises(ValueError, match=r"must be \[p, 8\]"):
            sketch_score(f, x, wrong)


@pytest.mark.parametrize("kind", ["plain", "pytree", "encoder"])
def test_all_directions_give_the_exact_score(kind: str, key: jax.Array) -> None:
    pytree, xs = two_layers(8, 20), samples(40, 20)
    f = {
        "plain": lambda x: pytree(x),
        "pytree": pytree,
        "encoder": Encoder(two_layer_weights(8, 20), lambda w, x: apply_two_layers(*w, x), (20,), 8),
    }[kind]
    result = calibrated_sketch(f, np.asarray(xs), 8, key, pilot=10)
    np.testing.assert_allclose(result.estimate, score_samples(f, xs), atol=1e-4)
    assert result.standard_error < 1e-4
    assert result.spearman == pytest.approx(1)


def test_ranks_agree_better_with_more_directions_and_the_error_bar_holds(key: jax.Array) -> None:
    f, xs = two_layers(), samples(400)
    exact = np.asarray(score_samples(f, xs), np.float64)
    truth, said = [], []
    for p in (1, 4, 11, 24):
        result = calibrated_sketch(f, xs, p, key)
        truth.append(stats.spearmanr(result.estimate, exact)[0])
        said.append(result.standard_error)
        error = np.abs(result.estimate - exact)
        # A normal law has 68 % within one standard error and 95 % within two.
        assert 0.6 < (error < result.standard_error).mean() < 0.9
        assert (error < 2 * result.standard_error).mean() > 0.9
        assert 0.7 < np.sqrt((error**2).mean()) / result.standard_error < 1.4
        low, high = result.spearman_interval
        assert low - 0.01 < truth[-1] < high + 0.01
        assert low < result.spearman < high <= 1
    assert truth == sorted(truth)
    assert said == sorted(said, reverse=True)
    assert truth[0] < 0.8 < 0.95 < truth[2]


def test_estimate_is_the_least_squares_line_and_its_error_leaves_one_out(key: jax.Array) -> None:
    f, xs = two_layers(8, 20), samples(30, 20)
    result, exact = calibrated_sketch(f, xs, 3, key, pilot=30), np.asarray(score_samples(f, xs), np.float64)
    np.testing.assert_allclose(np.polyfit(result.estimate, exact, 1), [1, 0], atol=1e-5)
    left_out = []
    for i in range(30):
        line = np.polyfit(np.delete(result.estimate, i), np.delete(exact, i), 1)
        left_out.append(exact[i] - np.polyval(line, result.estimate[i]))
    assert result.standard_error == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=1e-5)
    assert result.spearman == pytest.approx(stats.spearmanr(result.estimate, exact)[0])


def test_estimate_is_constant_on_a_linear_map(key: jax.Array) -> None:
    f, xs = Partial(apply_linear, two_layer_weights(8, 20)[0][:8]), samples(40, 20)
    result = calibrated_sketch(f, xs, 3, key, pilot=10)
    np.testing.assert_allclose(result.estimate, float(jepa_score(f, xs[0])), atol=1e-4)
    assert result.standard_error < 1e-4
    assert math.isnan(result.spearman)
    assert "constant" in str(result)


def test_estimate_moves_with_the_scale_of_the_output(key: jax.Array) -> None:
    a, b = two_layer_weights(8, 20)
    xs = samples(40, 20)
    one = calibrated_sketch(Partial(apply_two_layers, a, b), xs, 3, key, pilot=10)
    five = calibrated_sketch(Partial(apply_two_layers, a, 5 * b), xs, 3, key, pilot=10)
    np.testing.assert_allclose(five.estimate - one.estimate, 8 * math.log(5), atol=1e-3)
    assert five.standard_error == pytest.approx(one.standard_error, rel=1e-3)


def test_estimate_on_a_sphere_leaves_the_null_direction_out(key: jax.Array) -> None:
    f = Encoder(two_layer_weights(12, 40), lambda w, x: apply_sphere(*w, x), (40,), 12, "sphere", 1)
    xs = samples(100, 40)
    result = calibrated_sketch(f, xs, 11, key, pilot=50)
    assert result.spearman > 0.8
    # The scale is the exact score's, null direction and all: a constant log(eps) lower than without it.
    assert np.abs(np.median(result.estimate - np.asarray(score_samples(f, xs)))) < result.standard_error
    with pytest.raises(ValueError, match=r"p is 12.*1 \.\. 11"):
        calibrated_sketch(f, xs, 12, key)


def test_estimate_along_a_tangent_and_beside_a_sample_that_is_not_finite(key: jax.Array) -> None:
    f, xs = two_layers(8, 20), samples(40, 20)
    bases = np.stack([np.linalg.qr(rng(i).standard_normal((20, 4)))[0] for i in range(40)]).astype(np.float32)
    result = calibrated_sketch(f, xs.at[3].set(jnp.nan), 8, key, pilot=40, tangent=bases)
    exact = np.asarray(score_samples(f, xs, tangent=bases), np.float64)
    exact[3] = np.nan
    np.testing.assert_allclose(result.estimate, exact, atol=1e-4)
    assert result.pilot == 39


def test_estimate_prints_what_it_is_worth(key: jax.Array) -> None:
    result = calibrated_sketch(two_layers(8, 20), samples(60, 20), 3, key, pilot=20)
    text = str(result)
    assert "JEPA" not in text.upper()
    for part in ("estimate", "not the score", "3 random directions", "On 20 samples", "95 % interval", "nats"):
        assert part in text
    for number in (result.spearman, *result.spearman_interval):
        assert f"{number:.3f}" in text
    assert f"{result.standard_error:.2g} nats" in text
    assert (result.directions, result.pilot, result.estimate.shape) == (3, 20, (60,))


@pytest.mark.parametrize(
    ("p", "pilot", "bad", "match"),
    [
        (0, 10, 0, r"p is 0.*1 \.\. 8"),
        (9, 10, 0, r"p is 9.*1 \.\. 8"),
        (3, 7, 0, "pilot is 7.*at least 8"),
        (3, 21, 0, "pilot is 21.*at most.*20"),
        (3, 20, 15, "only 5 of 20 pilot scores are finite"),
    ],
)
def test_estimates_that_cannot_be_made(p: int, pilot: int, bad: int, match: str, key: jax.Array) -> None:
    with pytest.raises(ValueError, match=match):
        calibrated_sketch(two_layers(8, 20), samples(20, 20).at[:bad].set(jnp.nan), p, key, pilot=pilot)
