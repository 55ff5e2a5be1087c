"""Singular values of matrices whose spectrum is known."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax.density import (
    evaluate,
    jepa_score,
    score_samples,
    spectrum,
)
from jepa_jax.density.spectrum import Method, values
from jepa_jax.matmuls import equations
from tests.helpers.maps import apply_bent, apply_linear, prescribed, rng, sample
from tests.helpers.products import with_products

WORST = np.geomspace(67, 2.5e-6, 1024)  # the span of a ViT-L/14's spectrum, without a gap anywhere


@pytest.fixture(scope="module")
def worst() -> tuple[jax.Array, float]:
    """A float32 matrix with that spectrum, and its exact score."""
    j = prescribed(1024, 1500, WORST).astype(np.float32)
    return jnp.asarray(j), float(np.log(np.linalg.svd(j.astype(np.float64), compute_uv=False)).sum())


@pytest.mark.parametrize("method", ["auto", "svd", "qr", "gram64"])
@pytest.mark.parametrize("turned", [False, True])
def test_every_method_is_exact_on_the_worst_spectrum(method: Any, turned: bool, worst: tuple[jax.Array, float]) -> None:
    matrix = worst[0].T if turned else worst[0]
    score = jepa_score(Partial(apply_linear, matrix), jnp.zeros(matrix.shape[1]), 1e-7, method=method)
    assert float(score) == pytest.approx(worst[1], abs=0.01)


def test_single_values_of_the_worst_spectrum(worst: tuple[jax.Array, float]) -> None:
    exact = np.linalg.svd(np.asarray(worst[0], np.float64), compute_uv=False)
    for method in ("svd", "gram64"):
        np.testing.assert_allclose(spectrum.values(worst[0], method, "cpu"), exact, rtol=1e-5)
    np.testing.assert_allclose(spectrum.on_host(worst[0][:64]), spectrum.values(worst[0][:64], "svd", "cpu"), rtol=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((4, 6)), np.ones((4, 6)), np.diag([3.0, 1, 0, 0]), np.ones((64, 200)), np.eye(3)],
    ids=["zero", "rank one", "null rows", "large rank one", "identity"],
)
@pytest.mark.parametrize("method", ["svd", "qr", "gram64"])
def test_rank_deficient_matrices(matrix: np.ndarray, method: Any) -> None:
    f = Partial(apply_linear, jnp.asarray(matrix, jnp.float32))
    exact = np.linalg.svd(matrix, compute_uv=False)
    result = evaluate(f, jnp.zeros(matrix.shape[1]), 1e-4, method=method, values=False)
    assert float(result.score) == pytest.approx(np.log(np.maximum(exact, 1e-4)).sum(), rel=1e-5, abs=1e-5)
    assert result.clipped == (exact <= 1e-4).sum()
    assert result.singular_values is None


@pytest.mark.parametrize("method", ["svd", "qr", "gram64"])
def test_methods_agree_where_values_are_clipped(method: Any) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(40, 60, np.geomspace(1, 1e-4, 40)), jnp.float32))
    xs = sample((60,), count=5)
    np.testing.assert_allclose(
        score_samples(f, xs, 1e-2, method=method), [jepa_score(f, x, 1e-2) for x in xs], atol=1e-4
    )


WIDE = prescribed(256, 1100, np.geomspace(67, 2.5e-6, 256)).astype(np.float32)


LONG = np.linalg.qr(rng().standard_normal((4160, 256)))[0]


@pytest.mark.parametrize(
    ("largest", "smallest", "null"),
    [(17, 4e-3, 0), (17, 4e-3, 2), (67, 2.5e-6, 0), (67, 2.5e-6, 1)],
    ids=["one product", "one product, null values", "two products", "two products, null values"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_cpu_decomposes_long_matrices_by_products(largest: float, smallest: float, null: int, turned: bool) -> None:
    """As exact as LAPACK in float64, whether one Gram matrix suffices or not."""
    sigma = np.concatenate([np.geomspace(largest, smallest, 256 - null), np.full(null, 2e-9)])
    matrix = (prescribed(256, 256, sigma) @ LONG.T).astype(np.float32)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[: 256 - null]
    batch = jnp.asarray(np.stack([matrix.T, 2 * matrix.T] if turned else [matrix, 2 * matrix]))
    found = np.asarray(spectrum.values_of_many(batch, "svd", "cpu", null))[:, : 256 - null]
    np.testing.assert_allclose(found, [exact, 2 * exact], rtol=2e-6)


def test_long_matrices_on_a_cpu_that_are_not_finite() -> None:
    """Each has its own result."""
    matrix = (prescribed(256, 256, np.geomspace(17, 4e-3, 256)) @ LONG.T).astype(np.float32)
    batch = jnp.asarray(np.stack([matrix, np.zeros_like(matrix), np.where(matrix > 0.3, np.nan, matrix)]))
    good, zero, bad = np.asarray(spectrum.values_of_many(batch, "svd", "cpu"))
    assert np.isfinite(good).all()
    assert (zero == 0).all()
    assert np.isnan(bad).all()


@pytest.mark.parametrize("turned", [False, True])
def test_a_tpu_sends_small_matrices_to_its_host(turned: bool) -> None:
    j = jnp.asarray(WIDE.T if turned else WIDE)
    exact = np.linalg.svd(WIDE.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(jax.jit(lambda j: spectrum.values(j, "gram64", "tpu"))(j), exact, rtol=1e-5)
    np.testing.assert_allclose(spectrum.values(j[:250, :250], "gram64", "tpu"), spectrum.on_host(j[:250, :250]))
    program = jax.make_jaxpr(lambda j: spectrum.values(j, "gram64", "tpu"))(j)
    moved = [e for e, _ in equations(program.jaxpr) if e.primitive.name == "pure_callback"]
    assert max(v.aval.size for e in moved for v in (*e.invars, *e.outvars)) == 2 * 256**2


@pytest.mark.parametrize(
    ("matrix", "most"),
    [(WIDE, 1e-3), (prescribed(384, 1600, np.geomspace(82, 1.5e-3, 384)).astype(np.float32), 1e-3)],
    ids=["67 to 2.5e-6", "82 to 1.5e-3"],
)
@pytest.mark.parametrize("columns", [4096, 256], ids=["one block", "blocks"])
def test_a_tpu_needs_48_bits_only(
    matrix: np.ndarray, most: float, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrum, "GRAM_COLUMNS", columns)
    exact = np.log(np.linalg.svd(matrix.astype(np.float64), compute_uv=False)).sum()
    assert tpu_log_volume(matrix) == pytest.approx(exact, abs=most)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "largest", "smallest"), [(384, 82, 1.5e-3), (1024, 67, 2.5e-6)])
def test_a_tpu_needs_48_bits_only_for_images(rank: int, largest: float, smallest: float) -> None:
    """With 100,000 columns; 6 GB of memory and two minutes for the larger one."""
    right = np.linalg.qr(rng().standard_normal((100_000, rank)))[0]
    matrix = (prescribed(rank, rank, np.geomspace(largest, smallest, rank)) @ right.T).astype(np.float32)
    triangle = np.linalg.qr(matrix.T.astype(np.float64), mode="r")
    exact = np.log(np.linalg.svd(triangle, compute_uv=False)).sum()
    assert tpu_log_volume(matrix) == pytest.approx(exact, abs=1e-5)


def tpu_log_volume(matrix: np.ndarray) -> float:
    """With products whose errors are those of sums of pairs of float32 numbers, which is what a TPU's float64 is."""
    noise = rng()

    def product(equation: Any, factors: Any) -> Any:
        left, right = factors
        value = equation.primitive.bind(left, right, **equation.params)
        size = equation.primitive.bind(jnp.abs(left), jnp.abs(right), **equation.params)
        return value + 2.0**-48 * size * noise.uniform(-1, 1, value.shape)

    program = jax.make_jaxpr(lambda j: spectrum.values(j, "gram64", "tpu"))(jnp.asarray(matrix))
    with jax.enable_x64(True):
        [found] = with_products(program, [jnp.asarray(matrix)], product)
    return float(np.log(np.asarray(found, np.float64)).sum())


def test_a_tpu_and_matrices_that_are_not_finite() -> None:
    batch = jnp.asarray(np.stack([WIDE, np.zeros_like(WIDE), np.where(WIDE > 1, np.nan, WIDE)]))
    for method in ("gram64", "svd"):
        found = np.asarray(jax.vmap(lambda j, m=method: spectrum.values(j, m, "tpu"))(batch))
        assert np.isfinite(found[0]).all()
        assert (found[1] == 0).all()
        assert np.isnan(found[2]).all()


def test_auto_method() -> None:
    def auto(rank: int, values: bool, platform: str) -> str:
        return spectrum.resolve_method("auto", rank, values=values, platform=platform)

    assert auto(384, True, "cpu") == auto(384, False, "cpu") == auto(16, True, "gpu") == "svd"
    assert auto(384, True, "gpu") == auto(16, True, "tpu") == "gram64"
    assert auto(384, False, "gpu") == "qr"
    assert auto(16, False, "tpu") == "gram64"


@pytest.mark.parametrize(
    ("largest", "smallest", "null", "remains"),
    [(82, 1.5e-3, 0, 0), (82, 1.5e-3, 2, 2e-9), (67, 2.5e-6, 0, 0)],
)
def test_volume_by_cholesky(largest: float, smallest: float, null: int, remains: float) -> None:
    """The sum is that of LAPACK in float64."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((size, 96)))[0] for size in (96, 700))
    sigma = np.concatenate([np.geomspace(largest, smallest, 96 - null), np.full(null, remains)])
    j = jnp.asarray((left * sigma) @ right.T, jnp.float32)
    exact = np.linalg.svd(np.asarray(j, np.float64), compute_uv=False)[: 96 - null]
    total, bound = jax.jit(lambda j: spectrum.log_volume(j, null, "gpu"))(j)
    assert 0 < float(bound) <= exact[-1]
    assert float(total) == pytest.approx(np.log(exact).sum(), abs=1e-3)


def test_volume_by_cholesky_is_not_known_where_rounding_hides_a_null_direction() -> None:
    """In float32 a null direction is left with 1e-7 of the largest value, near the smallest of the others here."""
    matrix = prescribed(96, 700, np.r_[np.geomspace(67, 2.5e-6, 95), 0]).astype(np.float32)
    assert np.isnan(spectrum.log_volume(jnp.asarray(matrix), 1, "gpu")[1])


def test_volume_by_cholesky_is_not_known_where_a_direction_is_null_without_being_said() -> None:
    j = jnp.asarray(np.diag([3.0, 2.0, 1.0, 0.0]), jnp.float32)
    assert not float(spectrum.log_volume(j, 0, "gpu")[1]) > 1e-6
    total, bound = spectrum.log_volume(j, 1, "gpu")
    assert float(total) == pytest.approx(math.log(6), abs=1e-6)
    assert 0 < float(bound) <= 1


def test_a_score_without_values_takes_values_where_the_volume_does_not_do() -> None:
    f = Partial(apply_linear, jnp.diag(jnp.asarray([3.0, 2.0, 1.0, 0.0])))
    for platform in ("cpu", "gpu"):
        result = evaluate(f, jnp.zeros(4), 1e-2, method="qr", values=False, platform=platform)
        assert float(result.score) == pytest.approx(math.log(6) + math.log(1e-2), rel=1e-5)
        assert int(result.clipped) == 1
    told = evaluate(f, jnp.zeros(4), 1e-2, method="qr", values=False, null_directions=1, platform="gpu")
    assert (float(told.score), int(told.clipped)) == (pytest.approx(math.log(6) + math.log(1e-2), rel=1e-5), 1)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("qr", 4, True, "cpu"), "no singular values"),
        (("qr", 4, False, "tpu"), "float64"),
        (("lanczos", 4, True, "cpu"), "lanczos"),
    ],
)
def test_methods_that_cannot_be_had(arguments: Any, match: str) -> None:
    method, rank, values, platform = arguments
    with pytest.raises(ValueError, match=match):
        spectrum.resolve_method(method, rank, values=values, platform=platform)


def test_clipped_values_can_be_dropped() -> None:
    spectrum_ = np.array([3, 0.5, 1e-3, 0])
    f = Partial(apply_linear, jnp.diag(jnp.asarray(spectrum_, jnp.float32)))
    result = evaluate(f, jnp.zeros(4), 1e-2, drop_clipped=True)
    assert (float(result.score), int(result.clipped)) == (pytest.approx(math.log(1.5), rel=1e-5), 2)
    null = jepa_score(f, jnp.zeros(4), 1e-2, drop_clipped=True, null_directions=3)
    assert float(null) == pytest.approx(math.log(3), rel=1e-5)


def test_what_is_not_finite_has_no_score_and_spoils_no_other() -> None:
    f = Partial(apply_bent, jnp.eye(3))
    xs = jnp.ones((5, 3)).at[2, 1].set(jnp.nan)
    for method in ("svd", "qr", "gram64"):
        scores = np.asarray(score_samples(f, xs, method=method))
        assert np.isnan(scores[2])
        assert np.isfinite(np.delete(scores, 2)).all()


@pytest.mark.parametrize("method", ["svd", "gram64"])
@pytest.mark.parametrize("rank", [3, 40])
def test_memory_is_that_of_the_jacobian_and_not_of_a_square_of_its_long_side(method: Method, rank: int) -> None:
    j = jax.ShapeDtypeStruct((rank, 5000), jnp.float32)
    memory = jax.jit(lambda j: values(j, method, "cpu")).lower(j).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 6 * 8 * rank * 5000
