"""What stands beside the score: estimated tangents, a cheap estimate with its error, the error of the arithmetic."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from jepa_jax import Encoder, config
from jepa_jax.density import evaluate, jacobian, jepa_score, score_samples, tangent
from jepa_jax.density.diagnostics import log_frobenius, top_singular_values
from jepa_jax.density.numerical_error import arithmetic_error
from jepa_jax.density.sketch import (
    calibrated_sketch,
    random_directions,
    sketch_score,
)
from jepa_jax.density.tangent import estimate_tangents
from jepa_jax.models.build import build
from jepa_jax.worlds import WORLDS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def apply_linear(a: jax.Array, x: jax.Array) -> jax.Array:
    return a @ x.reshape(-1).astype(a.dtype)


def apply_bent(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    return b @ jnp.tanh(a @ x.reshape(-1))


def apply_sphere(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
    z = apply_bent(a, b, x)
    return z / jnp.sqrt(jnp.sum(z**2))


def weights(dim: int, size: int, hidden: int = 64) -> tuple[jax.Array, jax.Array]:
    a = rng(1).standard_normal((hidden, size)) * 1.5 / math.sqrt(size)
    b = rng(2).standard_normal((dim, hidden)) / math.sqrt(hidden)
    return jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)


def bent(dim: int = 32, size: int = 100) -> Any:
    return Partial(apply_bent, *weights(dim, size))


def samples(count: int, size: int = 100) -> jax.Array:
    """Of unequal length, so that a bent map stretches some more than others."""
    scale = np.exp(0.2 * rng(3).standard_normal((count, 1)))
    return jnp.asarray(scale * rng(4).standard_normal((count, size)), jnp.float32)


# Tangents


def angles(estimated: Any, exact: Any) -> np.ndarray:
    """Largest principal angle of each pair of subspaces, in degrees."""
    cosines = np.linalg.svd(np.swapaxes(np.asarray(exact), 1, 2) @ np.asarray(estimated), compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines[:, -1], 0, 1)))


def make_sphere(count: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng().standard_normal((count, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.linalg.svd(x[:, None])[2][:, 1:].transpose(0, 2, 1)


def make_swiss_roll(count: int) -> tuple[np.ndarray, np.ndarray]:
    """In a tilted three-dimensional space of ten numbers."""
    t, height = 1.5 * np.pi * (1 + 2 * rng(0).random(count)), 21 * rng(1).random(count)
    x = np.stack([t * np.cos(t), height, t * np.sin(t)], 1)
    along = np.stack([np.cos(t) - t * np.sin(t), 0 * t, np.sin(t) + t * np.cos(t)], 1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = np.broadcast_to([0.0, 1.0, 0.0], along.shape)
    frame = np.linalg.qr(rng(2).standard_normal((10, 10)))[0][:3]
    return x @ frame + 100, (np.stack([along, up], 1) @ frame).transpose(0, 2, 1)


def make_sprites(count: int) -> tuple[np.ndarray, np.ndarray]:
    world = WORLDS["sprites"]()
    assert world.tangent is not None
    x, states = world.sample(jax.random.key(0), count)
    return np.asarray(x), np.asarray(jax.jit(jax.vmap(world.tangent))(states))


@pytest.mark.parametrize(
    ("make", "most"),
    [(make_sphere, 1.0), (make_swiss_roll, 1.5), (make_sprites, 10.0)],
    ids=["sphere", "swiss roll", "sprites"],
)
def test_estimated_tangents_close_in_on_the_exact_ones(make: Any, most: float) -> None:
    x, exact = make(4000)
    dim = exact.shape[-1]
    few, many = (angles(estimate_tangents(x[:n], dim, queries=x[:400]), exact[:400]) for n in (400, 4000))
    assert np.median(many) < most
    assert np.median(many) < 0.7 * np.median(few)
    assert np.median(few) < 30


def test_tangents_of_a_plane_are_exact_and_orthonormal() -> None:
    frame = np.linalg.qr(rng().standard_normal((6, 6)))[0][:2]
    x = (rng(1).standard_normal((60, 2)) @ frame + 3).reshape(60, 2, 3)
    bases = estimate_tangents(x, 2, neighbours=5)
    assert bases.shape == (60, 6, 2)
    assert bases.dtype == np.float32
    np.testing.assert_allclose(np.swapaxes(bases, 1, 2) @ bases, np.broadcast_to(np.eye(2), (60, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(
        bases @ np.swapaxes(bases, 1, 2), np.broadcast_to(frame.T @ frame, (60, 6, 6)), atol=1e-4
    )


def test_a_tangent_is_estimated_from_the_other_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.concatenate([make_sphere(200)[0], np.zeros((200, 2))], axis=1)
    all_at_once = estimate_tangents(x, 2, neighbours=7)
    without_it = estimate_tangents(x[1:], 2, neighbours=7, queries=x[:1])
    np.testing.assert_allclose(angles(all_at_once[:1], without_it), 0, atol=0.05)
    with_it = estimate_tangents(x, 2, neighbours=7, queries=x[:1])
    assert angles(all_at_once[:1], with_it) > 0.1
    monkeypatch.setattr(tangent, "CHUNK_NUMBERS", 1000)  # five samples at once
    np.testing.assert_allclose(angles(all_at_once, estimate_tangents(x, 2, neighbours=7)), 0, atol=0.05)


@pytest.mark.parametrize("make", [make_swiss_roll, make_sprites])
def test_score_with_an_estimated_tangent(make: Any) -> None:
    x, exact = make(4000)
    dim = exact.shape[-1]
    estimated = estimate_tangents(x, dim, queries=x[:300])
    f, xs = bent(16, math.prod(x.shape[1:])), jnp.asarray(x[:300] / 10, jnp.float32)
    true = score_samples(f, xs, tangent=np.asarray(exact[:300], np.float32))
    near = score_samples(f, xs, tangent=estimated)
    assert np.median(np.abs(near - true)) < 0.15 * np.std(true)
    assert stats.spearmanr(near, true)[0] > 0.95
    turn = np.linalg.qr(rng().standard_normal((dim, dim)))[0].astype(np.float32)
    np.testing.assert_allclose(score_samples(f, xs, tangent=estimated @ turn), near, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"dim": 4}, "a sample has 3 numbers"),
        ({"dim": 2, "neighbours": 1}, "more neighbours"),
        ({"dim": 2, "neighbours": 10}, "need 11 samples, not 10"),
        ({"dim": 2, "queries": np.zeros((2, 4))}, "queries have 4 numbers"),
    ],
)
def test_tangents_that_cannot_be_estimated(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        estimate_tangents(np.asarray(make_sphere(10)[0]), **options)


def test_tangents_are_orthonormal_where_neighbours_coincide() -> None:
    x = np.zeros((20, 30), np.float32)
    x[:3, 0] = 1, 2, 3  # one direction, and two are asked for
    bases = estimate_tangents(x, 2, neighbours=5)
    np.testing.assert_allclose(np.swapaxes(bases, 1, 2) @ bases, np.broadcast_to(np.eye(2), (20, 2, 2)), atol=1e-5)


def test_tangents_of_samples_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        estimate_tangents(np.full((10, 3), np.nan), 2)


# The estimate


def test_directions_are_orthonormal(key: jax.Array) -> None:
    p = random_directions(key, 5, 9)
    np.testing.assert_allclose(p @ p.T, np.eye(5), atol=1e-6)
    with pytest.raises(ValueError, match=r"p is 10.*1 \.\. 9"):
        random_directions(key, 10, 9)


def test_sketch_is_the_log_volume_of_some_directions(key: jax.Array) -> None:
    f, x, p = bent(8, 20), samples(1, 20)[0], random_directions(key, 3, 8)
    exact = np.linalg.svd(np.asarray(p, np.float64) @ np.asarray(jacobian(f, x), np.float64), compute_uv=False)
    assert float(sketch_score(f, x, p)) == pytest.approx(np.log(exact).sum(), abs=1e-5)
    whole = random_directions(key, 8, 8)
    assert float(sketch_score(f, x, whole)) == pytest.approx(float(jepa_score(f, x)), abs=1e-5)
    for wrong in (p[:, :5], p[0]):
        with pytest.raises(ValueError, match=r"must be \[p, 8\]"):
            sketch_score(f, x, wrong)


@pytest.mark.parametrize("kind", ["plain", "pytree", "encoder"])
def test_all_directions_give_the_exact_score(kind: str, key: jax.Array) -> None:
    pytree, xs = bent(8, 20), samples(40, 20)
    f = {
        "plain": lambda x: pytree(x),
        "pytree": pytree,
        "encoder": Encoder(weights(8, 20), lambda w, x: apply_bent(*w, x), (20,), 8),
    }[kind]
    result = calibrated_sketch(f, np.asarray(xs), 8, key, pilot=10)
    np.testing.assert_allclose(result.estimate, score_samples(f, xs), atol=1e-4)
    assert result.standard_error < 1e-4
    assert result.spearman == pytest.approx(1)


def test_ranks_agree_better_with_more_directions_and_the_error_bar_holds(key: jax.Array) -> None:
    f, xs = bent(), samples(400)
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
    f, xs = bent(8, 20), samples(30, 20)
    result, exact = calibrated_sketch(f, xs, 3, key, pilot=30), np.asarray(score_samples(f, xs), np.float64)
    np.testing.assert_allclose(np.polyfit(result.estimate, exact, 1), [1, 0], atol=1e-5)
    left_out = []
    for i in range(30):
        line = np.polyfit(np.delete(result.estimate, i), np.delete(exact, i), 1)
        left_out.append(exact[i] - np.polyval(line, result.estimate[i]))
    assert result.standard_error == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=1e-5)
    assert result.spearman == pytest.approx(stats.spearmanr(result.estimate, exact)[0])


def test_estimate_is_constant_on_a_linear_map(key: jax.Array) -> None:
    f, xs = Partial(apply_linear, weights(8, 20)[0][:8]), samples(40, 20)
    result = calibrated_sketch(f, xs, 3, key, pilot=10)
    np.testing.assert_allclose(result.estimate, float(jepa_score(f, xs[0])), atol=1e-4)
    assert result.standard_error < 1e-4
    assert math.isnan(result.spearman)
    assert "constant" in str(result)


def test_estimate_moves_with_the_scale_of_the_output(key: jax.Array) -> None:
    a, b = weights(8, 20)
    xs = samples(40, 20)
    one = calibrated_sketch(Partial(apply_bent, a, b), xs, 3, key, pilot=10)
    five = calibrated_sketch(Partial(apply_bent, a, 5 * b), xs, 3, key, pilot=10)
    np.testing.assert_allclose(five.estimate - one.estimate, 8 * math.log(5), atol=1e-3)
    assert five.standard_error == pytest.approx(one.standard_error, rel=1e-3)


def test_estimate_on_a_sphere_leaves_the_null_direction_out(key: jax.Array) -> None:
    f = Encoder(weights(12, 40), lambda w, x: apply_sphere(*w, x), (40,), 12, "sphere", 1)
    xs = samples(100, 40)
    result = calibrated_sketch(f, xs, 11, key, pilot=50)
    assert result.spearman > 0.8
    # The scale is the exact score's, null direction and all: a constant log(eps) lower than without it.
    assert np.abs(np.median(result.estimate - np.asarray(score_samples(f, xs)))) < result.standard_error
    with pytest.raises(ValueError, match=r"p is 12.*1 \.\. 11"):
        calibrated_sketch(f, xs, 12, key)


def test_estimate_along_a_tangent_and_beside_a_sample_that_is_not_finite(key: jax.Array) -> None:
    f, xs = bent(8, 20), samples(40, 20)
    bases = np.stack([np.linalg.qr(rng(i).standard_normal((20, 4)))[0] for i in range(40)]).astype(np.float32)
    result = calibrated_sketch(f, xs.at[3].set(jnp.nan), 8, key, pilot=40, tangent=bases)
    exact = np.asarray(score_samples(f, xs, tangent=bases), np.float64)
    exact[3] = np.nan
    np.testing.assert_allclose(result.estimate, exact, atol=1e-4)
    assert result.pilot == 39


def test_estimate_prints_what_it_is_worth(key: jax.Array) -> None:
    result = calibrated_sketch(bent(8, 20), samples(60, 20), 3, key, pilot=20)
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
        calibrated_sketch(bent(8, 20), samples(20, 20).at[:bad].set(jnp.nan), p, key, pilot=pilot)


# The diagnostics


@pytest.mark.parametrize(
    ("dim", "size", "dtype"), [(12, 40, "float32"), (40, 12, "float32"), (60, 100, "float32"), (60, 100, "float64")]
)
def test_top_singular_values_are_those_of_the_matrix(dim: int, size: int, dtype: str, key: jax.Array) -> None:
    top = jax.jit(top_singular_values, static_argnames=("r", "steps"))
    with jax.enable_x64(dtype == "float64"):
        f = Partial(apply_bent, *(w.astype(dtype) for w in weights(dim, size)))
        x = samples(1, size)[0].astype(dtype)
        exact = np.linalg.svd(np.asarray(jacobian(f, x), np.float64), compute_uv=False)
        values = top(f, x, 5, key)
        assert values.dtype == dtype
        np.testing.assert_allclose(values, exact[:5], rtol=1e-3)
        whole = top(f, x, 12, key, steps=min(dim, size))
        np.testing.assert_allclose(whole, exact[:12], rtol=1e-4 if dtype == "float32" else 1e-10)
        few = top(f, x, 2, key, steps=2)
        assert few[1] < 0.99 * exact[1]  # as documented: from below


def test_top_singular_values_of_a_pytree_of_inputs(key: jax.Array) -> None:
    def f(x: dict[str, jax.Array]) -> jax.Array:
        return jnp.concatenate([3 * x["a"], 2 * x["b"].reshape(-1), jnp.sum(x["a"])[None]])

    x = {"a": jnp.ones(2), "b": jnp.ones((1, 2))}
    np.testing.assert_allclose(top_singular_values(f, x, 2, key), [math.sqrt(11), 3], rtol=1e-5)


@pytest.mark.parametrize(("r", "steps"), [(0, None), (13, None), (5, 4), (5, 13)])
def test_top_singular_values_that_are_not_there(r: int, steps: int | None, key: jax.Array) -> None:
    with pytest.raises(ValueError, match=r"<= 12$"):
        top_singular_values(bent(12, 40), samples(1, 40)[0], r, key, steps=steps)


@pytest.mark.parametrize(("dim", "size"), [(12, 40), (40, 12)])
def test_frobenius_norm(dim: int, size: int, key: jax.Array) -> None:
    f, x = bent(dim, size), samples(1, size)[0]
    exact = 0.5 * math.log(float(jnp.sum(jacobian(f, x) ** 2)))
    keys = jax.random.split(key, 8)
    few, many = (jnp.mean(jnp.abs(jax.vmap(lambda k, n=n: log_frobenius(f, x, k, n))(keys) - exact)) for n in (2, 200))
    assert many < 0.03
    assert many < 0.5 * few
    rows = jnp.asarray(3 * np.linalg.qr(rng().standard_normal((9, 4)))[0].T, jnp.float32)  # J J^T = 9 I
    one = log_frobenius(Partial(apply_linear, rows), jnp.zeros(9), key, 1)
    assert float(one) == pytest.approx(math.log(3 * math.sqrt(4)), abs=1e-5)
    with pytest.raises(ValueError, match="samples is 0"):
        log_frobenius(f, x, key, 0)


# The arithmetic's own error


def mlp(output: str = "free") -> Encoder:
    model = build(config.MLP(widths=(64, 64), dim=16), (30,), output)
    return Encoder(
        model.init(jax.random.key(0), 0.1, 2.0), model.apply, (30,), 16, null_directions=model.null_directions
    )


@pytest.mark.parametrize("output", ["free", "sphere"])
def test_error_of_float32_is_small_and_not_zero(output: str) -> None:
    f, xs = mlp(output), samples(20, 30)
    error = arithmetic_error(f, xs)
    assert error.shape == (20,)
    assert error.dtype == np.float64
    assert 1e-8 < np.median(error) <= error.max() < 1e-3


def test_error_is_the_distance_to_a_float64_reference() -> None:
    f, xs = bent(8, 20), samples(10, 20)
    a, b = (np.asarray(w, np.float64) for w in f.args)
    exact = [
        np.linalg.slogdet(j @ j.T)[1] / 2
        for x in np.asarray(xs, np.float64)
        for j in [b * (1 - np.tanh(a @ x) ** 2) @ a]
    ]
    score = np.asarray(score_samples(f, xs), np.float64)
    np.testing.assert_allclose(arithmetic_error(f, np.asarray(xs)), np.abs(score - exact), atol=1e-9)


def test_error_of_a_linear_map_is_rounding() -> None:
    f = Partial(apply_linear, weights(8, 20)[0][:8])
    assert arithmetic_error(f, samples(10, 20)).max() < 2e-6


def test_error_of_bfloat16_weights_is_large() -> None:
    def low(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
        return (b @ jnp.tanh(a @ x.astype(a.dtype))).astype(x.dtype)

    xs = samples(10, 20)
    rounded = tuple(w.astype(jnp.bfloat16) for w in weights(8, 20))
    full = tuple(w.astype(jnp.float32) for w in rounded)
    assert np.median(arithmetic_error(Partial(low, *rounded), xs)) > 1e-3
    assert arithmetic_error(Partial(low, *full), xs).max() < 1e-4


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_precision_of_its_own_is_refused(name: str, nested: bool) -> None:
    def low(a: jax.Array, x: jax.Array) -> jax.Array:
        if nested:  # where nothing narrow comes out
            return jax.jit(lambda x: a @ x + jax.lax.stop_gradient(x[:8].astype(name)).astype(x.dtype))(x)
        return jnp.tanh(a.astype(name) @ x.astype(name)).astype(x.dtype)

    with pytest.raises(ValueError, match=f"computes in {name} even"):
        arithmetic_error(Partial(low, weights(8, 20)[0][:8]), samples(3, 20))


def test_a_plain_function_is_refused() -> None:
    a = weights(8, 20)[0]
    with pytest.raises(ValueError, match=r"Encoder, or jax\.tree_util\.Partial"):
        arithmetic_error(lambda x: a @ x, samples(3, 20))


def test_numpy_constants_are_promoted() -> None:
    shift = np.full(8, 0.3, np.float32)
    f = Partial(lambda a, x: jnp.tanh(a @ x + shift), weights(8, 20)[0][:8])
    assert 0 < arithmetic_error(f, 0.3 * samples(3, 20)).max() < 1e-4


def test_error_counts_null_directions_as_the_score_does() -> None:
    xs = samples(5, 30)
    stated = mlp("sphere")
    silent = Encoder(stated.params, stated.apply, (30,), 16)
    # Unstated, the null direction is rounding noise in float32 and below eps in float64.
    assert arithmetic_error(silent, xs, 1e-12).max() > 1
    np.testing.assert_allclose(
        arithmetic_error(silent, xs, 1e-12, null_directions=1), arithmetic_error(stated, xs, 1e-12), atol=1e-9
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Factored:
    """An encoder that offers a factor of its Jacobian; `scale` holds what the factor multiplies it by."""

    a: jax.Array
    scale: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.a @ x)

    def jacobian_factor(self, x: jax.Array, chunk: int | None, platform: str) -> jax.Array:
        return self.scale.astype(x.dtype) * (1 - jnp.tanh(self.a @ x) ** 2)[:, None] * self.a


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rounded(Factored):
    def jacobian_factor(self, x: jax.Array, chunk: int | None, platform: str) -> jax.Array:
        return super().jacobian_factor(x, chunk, platform).astype(jnp.bfloat16).astype(x.dtype)


@pytest.mark.parametrize("null_directions", [None, 0])
def test_error_of_an_encoder_with_a_factor(null_directions: int | None) -> None:
    a, xs = weights(8, 20)[0][:8], 0.3 * samples(5, 20)
    f = Factored(a, jnp.full((1, 1), 5.0))
    # The factor is what is scored, five times the Jacobian here.
    assert float(evaluate(f, xs[0]).score - jepa_score(f.__call__, xs[0])) == pytest.approx(8 * math.log(5), abs=1e-4)
    error = arithmetic_error(f, xs, null_directions=null_directions)
    exact = [
        np.linalg.slogdet(j @ j.T)[1] / 2
        for x in np.asarray(xs, np.float64)
        for j in [5 * (1 - np.tanh(np.asarray(a, np.float64) @ x) ** 2)[:, None] * np.asarray(a, np.float64)]
    ]
    score = np.asarray(score_samples(f, xs), np.float64)
    np.testing.assert_allclose(error, np.abs(score - exact), atol=1e-9)
    with pytest.raises(ValueError, match="computes in bfloat16"):
        arithmetic_error(Rounded(a, f.scale), xs, null_directions=null_directions)


def test_error_needs_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(ValueError, match="TPU does not have"):
        arithmetic_error(bent(8, 20), samples(3, 20))
