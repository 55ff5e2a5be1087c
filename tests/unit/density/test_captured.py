"""Captured functions: what they compute, what makes two of them equal, and what cannot be captured."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jepa_jax import score_samples
from jepa_jax.density import batches
from jepa_jax.density.captured import Captured, captured
from tests.helpers.maps import sample

XS = sample((3,), count=5)


def weights(step: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(step).standard_normal((4, 3)), jnp.float32)


def apply(w: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(jax.nn.relu(w @ x) + w @ x)


def test_present_arrays_count_and_the_scorer_is_compiled_once() -> None:
    held: dict[str, Any] = {}
    sizes = []
    for step in range(3):
        held["w"] = weights(step)
        f = captured(lambda x: apply(held["w"], x), XS[0])
        assert isinstance(f, Captured)
        np.testing.assert_allclose(score_samples(f, XS), score_samples(lambda x: apply(held["w"], x), XS), atol=1e-5)
        sizes.append(batches._compiled._cache_size())  # pyright: ignore[reportFunctionMemberAccess]
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_changed_number_and_a_changed_rule_of_derivatives_count() -> None:
    held: dict[str, Any] = {"scale": 1.0, "factor": jnp.ones(())}

    @jax.custom_jvp
    def f(x: jax.Array) -> jax.Array:
        return held["scale"] * (weights(0) @ x)

    @f.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return f(*primals), held["factor"] * held["scale"] * (weights(0) @ tangents[0])

    first = score_samples(captured(f, XS[0]), XS, mode="forward")
    for name, value in (("scale", 2.0), ("factor", jnp.full((), 3.0))):  # the second is read by the rule alone
        held[name] = value
        found = score_samples(captured(lambda x: f(x), XS[0]), XS, mode="forward")
        np.testing.assert_allclose(found, first + 3 * np.log(float(held["scale"] * held["factor"])), rtol=1e-5)


def test_a_rule_for_reverse_derivatives_alone_will_do() -> None:
    @jax.custom_vjp
    def f(x: jax.Array) -> jax.Array:
        return weights(0) @ x

    f.defvjp(lambda x: (weights(0) @ x, None), lambda _, g: (weights(0).T @ g,))
    expected = score_samples(f, XS, mode="reverse")
    np.testing.assert_allclose(score_samples(captured(f, XS[0]), XS, mode="reverse"), expected, atol=1e-5)


def test_what_cannot_be_captured_is_returned() -> None:
    for f in (lambda x: x.undefined, lambda x: (x, x)):
        assert captured(f, XS[0]) is f
