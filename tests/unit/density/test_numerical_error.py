"""The error of the arithmetic against float64."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax import Encoder, config
from jepa_jax.density import evaluate, jepa_score, score_samples
from jepa_jax.density.numerical_error import arithmetic_error
from jepa_jax.models.build import build
from tests.helpers.maps import apply_linear, samples, two_layer_weights, two_layers


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
    f, xs = two_layers(8, 20), samples(10, 20)
    a, b = (np.asarray(w, np.float64) for w in f.args)
    exact = [
        np.linalg.slogdet(j @ j.T)[1] / 2
        for x in np.asarray(xs, np.float64)
        for j in [b * (1 - np.tanh(a @ x) ** 2) @ a]
    ]
    score = np.asarray(score_samples(f, xs), np.float64)
    np.testing.assert_allclose(arithmetic_error(f, np.asarray(xs)), np.abs(score - exact), atol=1e-9)


def test_error_of_a_linear_map_is_rounding() -> None:
    f = Partial(apply_linear, two_layer_weights(8, 20)[0][:8])
    assert arithmetic_error(f, samples(10, 20)).max() < 2e-6


def test_error_of_bfloat16_weights_is_large() -> None:
    def low(a: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
        return (b @ jnp.tanh(a @ x.astype(a.dtype))).astype(x.dtype)

    xs = samples(10, 20)
    rounded = tuple(w.astype(jnp.bfloat16) for w in two_layer_weights(8, 20))
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
        arithmetic_error(Partial(low, two_layer_weights(8, 20)[0][:8]), samples(3, 20))


def test_a_plain_function_is_refused() -> None:
    a = two_layer_weights(8, 20)[0]
    with pytest.raises(ValueError, match=r"Encoder, or jax\.tree_util\.Partial"):
        arithmetic_error(lambda x: a @ x, samples(3, 20))


def test_numpy_constants_are_promoted() -> None:
    shift = np.full(8, 0.3, np.float32)
    f = Partial(lambda a, x: jnp.tanh(a @ x + shift), two_layer_weights(8, 20)[0][:8])
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

    def jacobian_factor(
        self, x: jax.Array, chunk: int | None, platform: str, memory: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        z = self(x)
        return z, self.scale.astype(x.dtype) * (1 - z**2)[:, None] * self.a


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rounded(Factored):
    def jacobian_factor(
        self, x: jax.Array, chunk: int | None, platform: str, memory: int | None = None
    ) -> tuple[jax.Array, jax.Array]:
        z, matrix = super().jacobian_factor(x, chunk, platform)
        return z, matrix.astype(jnp.bfloat16).astype(x.dtype)


@pytest.mark.parametrize("null_directions", [None, 0])
def test_error_of_an_encoder_with_a_factor(null_directions: int | None) -> None:
    a, xs = two_layer_weights(8, 20)[0][:8], 0.3 * samples(5, 20)
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
    with pytest.raises(ValueError, match="TPU only imitates"):
        arithmetic_error(two_layers(8, 20), samples(3, 20))
