"""Scores in `bf16x3` and `bf16x6`, whose products are emulated with the arithmetic of a GPU or a TPU."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jepa_jax.density import jacobian
from jepa_jax.density.jacobian import MATMUL_PRECISIONS
from tests.helpers.products import with_products

# Slices of either factor whose products are added, the smallest first, as XLA adds them.
PRODUCTS = {
    "bf16": ((0, 0),),
    "bf16x3": ((1, 0), (0, 1), (0, 0)),
    "bf16x6": ((2, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)),
}


def slices(a: Array) -> list[Array]:
    """Three numbers with bfloat16's 8 bits each, whose sum has the 24 bits of a float32 number."""
    found = []
    for _ in range(3):
        found.append(jax.lax.reduce_precision(a, exponent_bits=8, mantissa_bits=7))
        a = a - found[-1]
    return found


def split_product(precision: str, equation: Any, factors: Sequence[Array]) -> Array:
    """A matrix product as the sum of products of slices."""
    left, right = map(slices, factors)
    products = [equation.primitive.bind(left[i], right[j], **equation.params) for i, j in PRODUCTS[precision]]
    return reduce(jnp.add, products)


def encoder(dtype: Any) -> Callable[[Array], Array]:
    """An MLP [48] -> [24] whose Jacobians have singular values over three decades and more."""
    rng = np.random.default_rng(0)
    sizes = ((48, 96), (96, 96), (96, 24))
    weights = [jnp.asarray(np.float32(rng.standard_normal(s) / s[0] ** 0.5), dtype) for s in sizes]
    scale = jnp.asarray(np.geomspace(30, 0.03, 24, dtype=np.float32), dtype)

    def apply(x: Array) -> Array:
        return scale * (jnp.tanh(jnp.tanh(x @ weights[0]) @ weights[1]) @ weights[2])

    return apply


def scores(j: Any) -> np.ndarray:
    return np.log(np.linalg.svd(np.asarray(j, np.float64), compute_uv=False)).sum(axis=-1)


def test_three_slices_are_a_float32_number() -> None:
    a = jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)
    first, second, third = slices(a)
    assert (first + second + third == a).all()
    assert all((s == s.astype(jnp.bfloat16).astype(jnp.float32)).all() for s in slices(a))


def test_six_products_of_slices_are_as_exact_as_float32() -> None:
    xs = np.random.default_rng(1).standard_normal((12, 48)).astype(np.float32)

    def matrices(xs: Array) -> Array:
        return jax.vmap(partial(jacobian, encoder(xs.dtype), chunk=24))(xs)

    with jax.enable_x64(True):
        exact = scores(matrices(jnp.asarray(xs, jnp.float64)))
    xs = jnp.asarray(xs)
    off = {"float32": np.abs(scores(matrices(xs)) - exact)}
    program = jax.make_jaxpr(matrices)(xs)
    for precision in PRODUCTS:
        off[precision] = np.abs(scores(with_products(program, [xs], partial(split_product, precision))[0]) - exact)
    errors = {name: float(np.sqrt(np.mean(a**2))) for name, a in off.items()}
    assert errors["bf16x6"] < 2 * errors["float32"] < 1e-4
    assert errors["bf16"] > 20 * errors["bf16x3"] > 100 * errors["bf16x6"]


@pytest.mark.parametrize("precision", sorted(set(MATMUL_PRECISIONS) - {"float32"}))
def test_a_program_for_a_gpu_asks_for_the_precision(precision: Any) -> None:
    f = partial(jacobian, encoder(jnp.float32), precision=precision, platform="gpu", chunk=24)
    asked = {str(e.params["precision"]) for e in jax.make_jaxpr(f)(jnp.ones(48)).eqns if "dot" in e.primitive.name}
    assert all(MATMUL_PRECISIONS[precision] in name for name in asked)
    assert asked
