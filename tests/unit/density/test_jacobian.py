"""Jacobians against closed forms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax.density import (
    jacobian,
    jepa_score,
    score_samples,
)
from tests.helpers.maps import SHAPES, TOLERANCE, apply_bent, bent_jacobian, orthogonal, prescribed, sample


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("chunk", [None, 2, 100])
def test_jacobian_of_a_bent_map(dim: int, shape: tuple[int, ...], mode: Any, chunk: int | None, dtype: str) -> None:
    size = math.prod(shape)
    a = prescribed(dim, size, np.geomspace(1.5, 0.1, min(dim, size)))
    x = sample(shape, dtype)
    exact = bent_jacobian(a, x)
    j = jacobian(Partial(apply_bent, jnp.asarray(a, dtype)), x, mode=mode, chunk=chunk)
    assert j.dtype == dtype
    np.testing.assert_allclose(j, exact, atol=TOLERANCE[dtype])


def test_the_compiler_differentiates_a_norm_rightly() -> None:
    """jaxlib 0.10.2 and 0.11.0 get this wrong on CPU, silently; pyproject.toml excludes them."""

    def norm(x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)

    x = jnp.asarray(np.random.default_rng(0).standard_normal((50, 64)), jnp.float32)
    rows = jnp.asarray(np.random.default_rng(1).standard_normal((128, 50, 64)), jnp.float32)
    many = jax.jit(lambda x, rows: jax.vmap(lambda row: jax.vjp(norm, x)[1](row)[0])(rows))(x, rows)
    one = jnp.stack([jax.vjp(norm, x)[1](row)[0] for row in rows])
    np.testing.assert_allclose(many, one, atol=1e-5)


def test_jacobian_of_a_pytree() -> None:
    a, b = (jnp.asarray(prescribed(4, n, np.ones(n)), jnp.float32) for n in (2, 3))

    def f(x: dict[str, jax.Array]) -> jax.Array:
        return a @ x["first"] + jnp.tanh(b @ x["second"].reshape(-1))

    x = {"second": 0.1 * jnp.ones((3, 1)), "first": jnp.ones(2)}
    expected = np.concatenate([a, (1 - np.tanh(b @ x["second"]) ** 2) * b], axis=1)
    for mode in ("forward", "reverse"):
        np.testing.assert_allclose(jacobian(f, x, mode=mode), expected, atol=1e-6)
    xs = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, 3 * leaf]), x)
    loop = [jepa_score(f, jax.tree.map(lambda leaf, i=i: leaf[i], xs)) for i in range(3)]
    np.testing.assert_allclose(score_samples(f, xs, batch_size=2), loop, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_tangent_restricts_the_jacobian(columns: int, dtype: str) -> None:
    a = prescribed(5, 3, [2, 1, 0.5])
    basis = orthogonal(3, 7)[:, :columns]
    x = sample((3,), dtype)
    f, t = Partial(apply_bent, jnp.asarray(a, dtype)), jnp.asarray(basis, dtype)
    exact = bent_jacobian(a, x) @ basis
    np.testing.assert_allclose(jacobian(f, x, tangent=t), exact, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(jacobian(f, x, tangent=t, chunk=1), exact, atol=TOLERANCE[dtype])
    volume = 0.5 * np.linalg.slogdet(exact.T @ exact)[1]
    assert float(jepa_score(f, x, tangent=t)) == pytest.approx(volume, abs=100 * TOLERANCE[dtype])
    many = score_samples(f, jnp.stack([x, x]), tangent=jnp.stack([t, t]), batch_size=1)
    np.testing.assert_allclose(many, volume, atol=100 * TOLERANCE[dtype])
