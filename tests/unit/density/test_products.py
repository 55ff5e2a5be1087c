"""Products of parts that a GPU's matrix units multiply."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.score_speed.weights import random_vit
from jepa_jax.density import products
from jepa_jax.density.jacobian import MATMUL_PRECISIONS
from jepa_jax.density.products import product
from jepa_jax.models.vit import ViT

# Root mean square of the error relative to the product of the magnitudes: that of float32 is about 1e-7 here.
LARGEST_ERRORS = {"bf16x3": 4e-6, "bf16x6": 2.5e-7, "tf32x3": 3e-7}


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply parts in float32, where their products are exact: not every CPU multiplies them otherwise."""

    def multiply(spec: str, a: jax.Array, b: jax.Array) -> jax.Array:
        assert a.dtype == b.dtype != jnp.float32
        return jnp.einsum(spec, a.astype(jnp.float32), b.astype(jnp.float32), precision="highest")

    monkeypatch.setattr(products, "narrow_product", multiply)


@pytest.mark.parametrize("precision", LARGEST_ERRORS)
@pytest.mark.parametrize("spec", ["nkd,de->nke", "qm,qkd->mkd", "nkd,nde->nke", "md,kqd->mkq"])
@pytest.mark.parametrize("size", [1.0, 1e12, 1e-12])
def test_products_of_parts_are_as_exact_as_they_say(precision: str, spec: str, size: float) -> None:
    lengths = dict(zip("nkdeqm", (3, 40, 96, 50, 80, 70), strict=True))
    rng = np.random.default_rng(0)

    def factor(axes: str) -> np.ndarray:
        shape = [lengths[axis] for axis in axes]
        return (rng.standard_normal(shape) * np.exp(1.5 * rng.standard_normal(shape))).astype(np.float32)

    left, right = spec.split("->")[0].split(",")
    a, b = factor(left) * np.float32(size), factor(right)
    with jax.default_matmul_precision(MATMUL_PRECISIONS[precision]):
        found = np.asarray(jax.jit(lambda a, b: product(spec, a, b, "gpu"))(a, b), np.float64)
    exact, magnitude = (np.einsum(spec, f(a).astype(np.float64), f(b)) for f in (np.array, np.abs))
    assert np.sqrt(np.mean(((found - exact) / magnitude) ** 2)) < LARGEST_ERRORS[precision]


def test_zero_and_what_is_not_finite() -> None:
    with jax.default_matmul_precision(MATMUL_PRECISIONS["tf32x3"]):
        assert (product("ab,bc->ac", jnp.zeros((4, 4)), jnp.ones((4, 4)), "gpu") == 0).all()
        bad = jnp.ones((4, 4)).at[1, 2].set(jnp.nan)
        assert jnp.isnan(product("ab,bc->ac", bad, jnp.ones((4, 4)), "gpu")[1]).all()


def test_other_platforms_multiply_as_they_do() -> None:
    a = jnp.asarray(np.random.default_rng(0).standard_normal((8, 8)), jnp.float32)
    with jax.default_matmul_precision("highest"):
        assert jnp.array_equal(product("ab,bc->ac", a, a, "cpu"), a @ a)


@pytest.mark.parametrize(("precision", "most"), [("tf32x3", 1e-4), ("bf16x6", 1e-4), ("bf16x3", 1e-2)])
def test_the_score_of_a_transformer_moves_little(
    precision: str, most: float, monkeypatch: pytest.MonkeyPatch, x64: None
) -> None:
    """All products of the Jacobian that a GPU computes in parts; the others are in float32 here."""
    sizes = {"image_size": 28, "patch_size": 7, "width": 48, "depth": 3, "heads": 3}
    encoder = ViT(**sizes)
    params = jax.tree.map(jnp.asarray, random_vit(np.random.default_rng(0), **sizes))
    image = jnp.asarray(np.random.default_rng(1).standard_normal(encoder.shape), jnp.float32)
    live = encoder.dim - encoder.null_directions

    def score(params: Any, image: jax.Array) -> float:
        factor = jax.jit(lambda p, x: encoder.network.factor(p, x, None, "gpu")[1])(params, image)
        return float(np.log(np.linalg.svd(np.asarray(factor, np.float64), compute_uv=False)[:live]).sum())

    with jax.default_matmul_precision("highest"):
        exact = score(*jax.tree.map(lambda a: a.astype(jnp.float64), (params, image)))
        monkeypatch.setitem(products.SPLITS, "highest", products.SPLITS[MATMUL_PRECISIONS[precision]])
        assert abs(score(params, image) - exact) < most
