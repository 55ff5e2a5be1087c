"""Top singular values and the Frobenius norm, without the whole Jacobian."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax.density import jacobian
from jepa_jax.density.diagnostics import log_frobenius, top_singular_values
from tests.helpers.maps import apply_linear, apply_two_layers, rng, samples, two_layer_weights, two_layers


@pytest.mark.parametrize(
    ("dim", "size", "dtype"), [(12, 40, "float32"), (40, 12, "float32"), (60, 100, "float32"), (60, 100, "float64")]
)
def test_top_singular_values_are_those_of_the_matrix(dim: int, size: int, dtype: str, key: jax.Array) -> None:
    top = jax.jit(top_singular_values, static_argnames=("r", "steps"))
    with jax.enable_x64(dtype == "float64"):
        f = Partial(apply_two_layers, *(w.astype(dtype) for w in two_layer_weights(dim, size)))
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
        top_singular_values(two_layers(12, 40), samples(1, 40)[0], r, key, steps=steps)


@pytest.mark.parametrize(("dim", "size"), [(12, 40), (40, 12)])
def test_frobenius_norm(dim: int, size: int, key: jax.Array) -> None:
    f, x = two_layers(dim, size), samples(1, size)[0]
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
