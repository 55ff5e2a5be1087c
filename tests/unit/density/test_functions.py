"""Functions of any kind: modules and closures, whose present arrays count, and words for what cannot be scored."""

import functools
import types
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from jepa_jax import jepa_score, score_samples, singular_values
from jepa_jax.density import program
from tests.helpers.maps import sample

XS = sample((3,), count=5)


def weights(step: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(step).standard_normal((4, 3)), jnp.float32)


def apply(w: Any, x: jax.Array, scale: float = 1.0) -> jax.Array:
    return jnp.tanh(scale * (jax.nn.relu(w @ x) + w @ x))  # relu has a rule of its own for derivatives


class Module:
    """A pytree with leaves that are no arrays, as Equinox modules are."""

    def __init__(self, w: Any, activation: Callable[..., Any], name: str) -> None:
        self.w, self.activation, self.name = w, activation, name

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.activation(self.w @ x)


jax.tree_util.register_pytree_node(
    Module, lambda m: ((m.w, m.activation, m.name), None), lambda _, leaves: Module(*leaves)
)

HELD: Any = None


def in_a_global() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    def change(w: Any) -> None:
        global HELD
        HELD = w

    return lambda x: apply(HELD, x), change


def in_a_closure() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held = None

    def change(w: Any) -> None:
        nonlocal held
        held = w

    return lambda x: apply(held, x), change


def in_a_dict() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held: dict[str, Any] = {}
    return lambda x: apply(held["w"], x), lambda w: held.update(w=w)


def in_an_attribute() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held = types.SimpleNamespace()
    return lambda x: apply(held.w, x), lambda w: setattr(held, "w", w)


def in_numpy() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held = np.zeros((4, 3), np.float32)
    return lambda x: apply(held, x), lambda w: held.__setitem__(slice(None), np.asarray(w))


def in_keywords() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held: dict[str, Any] = {}
    return functools.partial(lambda x, held: apply(held["w"], x), held=held), lambda w: held.update(w=w)


def in_a_module() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held = Module(None, jnp.tanh, "a")

    def change(w: Any) -> None:
        held.w = w

    return held, change


def in_nnx() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    held = nnx.Linear(3, 4, rngs=nnx.Rngs(0))

    def change(w: Any) -> None:
        held.kernel[...] = w.T

    return lambda x: jnp.tanh(held(x)), change


def in_linen() -> tuple[Callable[..., Any], Callable[[Any], None]]:
    module = nn.Dense(4)
    held: dict[str, Any] = {}
    return lambda x: module.apply(held, x), lambda w: held.update(params={"kernel": w.T, "bias": jnp.zeros(4)})


PLACES = [
    in_a_global, in_a_closure, in_a_dict, in_an_attribute, in_numpy, in_keywords, in_a_module, in_nnx, in_linen,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_present_weights_count_and_are_not_compiled_again(place: Callable[[], Any]) -> None:
    f, change = place()
    compiled = []
    for step in range(3):
        change(weights(step))
        found = score_samples(f, XS)
        compiled.append(program._run._cache_size())  # pyright: ignore[reportFunctionMemberAccess]
        np.testing.assert_allclose(found, [jepa_score(f, x) for x in XS], atol=1e-4)
    assert compiled[0] == compiled[1] == compiled[2]


def test_a_changed_number_counts() -> None:
    held = {"scale": 1.0}
    f = lambda x: held["scale"] * weights(0) @ x  # noqa: E731
    first = score_samples(f, XS)
    held["scale"] = 2.0
    np.testing.assert_allclose(score_samples(f, XS), first + 3 * np.log(2), rtol=1e-5)


def test_a_changed_rule_of_derivatives_counts() -> None:
    held = {"factor": 1.0}

    @jax.custom_jvp
    def f(x: jax.Array) -> jax.Array:
        return weights(0) @ x

    @f.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        return f(*primals), held["factor"] * (weights(0) @ tangents[0])

    first = score_samples(f, XS, mode="forward")
    held["factor"] = 3.0
    np.testing.assert_allclose(score_samples(f, XS, mode="forward"), first + 3 * np.log(3), rtol=1e-5)


def test_modules_of_all_kinds() -> None:
    w = weights(0)
    plain = score_samples(lambda x: jnp.tanh(w @ x), XS)
    bound = nn.Dense(4, use_bias=False).bind({"params": {"kernel": w.T}})
    for f in (
        Module(w, jnp.tanh, "a"),
        lambda x: jnp.tanh(bound(x)),
        jax.tree_util.Partial(lambda w, x: jnp.tanh(w @ x), w),
    ):
        np.testing.assert_allclose(score_samples(f, XS), plain, atol=1e-6)
    np.testing.assert_allclose(score_samples(bound, XS), [jepa_score(bound, x) for x in XS], atol=1e-5)


class Noisy(nnx.Module):
    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(x[None])[0]


W = weights(0)
WRONG: list[tuple[Any, Any, type[Exception], str]] = [
    (nn.Dense(4), XS, ValueError, "no weights of its own; pass module.bind"),
    (Noisy(), XS, ValueError, r"call module.eval\(\) first"),
    (lambda x: np.tanh(x), XS, ValueError, "use jax.numpy"),
    (lambda xs: xs @ W.T if xs.ndim == 2 else xs.missing, XS, ValueError, r"pass lambda x: f\(x\[None\]\)\[0\]"),
    (lambda x: (x, x), XS, ValueError, r"return one array \[K\]"),
    (lambda x: W @ x, XS[0], ValueError, "the first axis of xs numbers the samples"),
    (lambda x: W @ x, [[1.0, 2.0, 3.0]], TypeError, r"pass numpy.asarray\(xs, numpy.float32\)"),
    (lambda x: W @ x, ["a.jpg"], TypeError, "encoder.preprocess"),
    (lambda x: W @ x, [Image.new("RGB", (4, 4))], TypeError, "encoder.preprocess"),
    (lambda x: W @ x, np.ones((2, 3), np.uint8), ValueError, "not uint8; convert it"),
]


@pytest.mark.parametrize(("f", "xs", "kind", "words"), WRONG)
def test_what_cannot_be_scored_is_said_in_a_line(f: Any, xs: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        score_samples(f, xs)
    assert "\n" not in str(caught.value)


def test_one_sample_and_a_batch_are_told_apart() -> None:
    for g in (jepa_score, singular_values):
        with pytest.raises(
            ValueError, match=r"not \(5, 3\) for an input of shape \(5, 3\); pass one sample, not a batch"
        ):
            g(lambda x: x, XS)
