"""The score on maps whose Jacobian is known."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from jepa_jax import Encoder
from jepa_jax.density import (
    base_log_density,
    batches,
    default_batch_size,
    evaluate,
    jacobian,
    jepa_score,
    score_batches,
    score_samples,
    singular_values,
    spectrum,
)
from jepa_jax.density.jacobian import arithmetic, default_chunk, even
from jepa_jax.memory import available, live_bytes
from jepa_jax.sharding import data_mesh, shard_parameters
from jepa_jax.worlds import WORLDS

SHAPES = [(5, (5,)), (7, (3,)), (3, (2, 3, 1))]  # K, shape of a sample: D = K, D < K, D > K
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


@pytest.fixture(params=TOLERANCE)
def dtype(request: pytest.FixtureRequest) -> Any:
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def apply_linear(a: jax.Array, x: jax.Array) -> jax.Array:
    return a @ x.reshape(-1)


def apply_bent(a: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.tanh(a @ x.reshape(-1))


def apply_sphere(a: jax.Array, x: jax.Array) -> jax.Array:
    z = jnp.tanh(a @ x.reshape(-1))
    return z / jnp.sqrt(jnp.sum(z**2))


def orthogonal(n: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def prescribed(dim: int, size: int, spectrum: Any) -> np.ndarray:
    """U diag(spectrum) V^T, [dim, size]."""
    rank = min(dim, size)
    return orthogonal(dim, 1)[:, :rank] * np.asarray(spectrum) @ orthogonal(size, 2)[:, :rank].T


def sample(shape: tuple[int, ...], dtype: str = "float32", count: int | None = None) -> jax.Array:
    full = shape if count is None else (count, *shape)
    return jnp.asarray(0.5 * np.random.default_rng(3).standard_normal(full), dtype)


def bent_jacobian(a: np.ndarray, x: Any) -> np.ndarray:
    return (1 - np.tanh(a @ np.asarray(x, np.float64).ravel()) ** 2)[:, None] * a


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


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
@pytest.mark.parametrize("apply", [apply_linear, apply_bent])
def test_score_is_the_sum_of_log_singular_values(
    apply: Callable[..., jax.Array], dim: int, shape: tuple[int, ...], dtype: str
) -> None:
    size = math.prod(shape)
    spectrum = np.geomspace(30, 1e-2, min(dim, size))
    a = prescribed(dim, size, spectrum) * (1.0 if apply is apply_linear else 0.02)
    x = sample(shape, dtype)
    exact = spectrum if apply is apply_linear else np.linalg.svd(bent_jacobian(a, x), compute_uv=False)
    result = evaluate(Partial(apply, jnp.asarray(a, dtype)), x)
    np.testing.assert_allclose(result.singular_values, exact, rtol=100 * TOLERANCE[dtype])
    assert float(result.score) == pytest.approx(np.log(exact).sum(), abs=100 * TOLERANCE[dtype])
    assert result.clipped == 0
    np.testing.assert_allclose(result.embedding, apply(jnp.asarray(a, dtype), x), rtol=10 * TOLERANCE[dtype])
    assert result.score.dtype == result.singular_values.dtype == dtype


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


def test_auto_method() -> None:
    def auto(rank: int, values: bool, platform: str) -> str:
        return spectrum.resolve_method("auto", rank, values=values, platform=platform)

    assert auto(384, True, "cpu") == auto(384, False, "cpu") == auto(16, True, "gpu") == auto(384, True, "tpu") == "svd"
    assert auto(384, True, "gpu") == auto(384, False, "gpu") == "gram64"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("qr", 4, True, "cpu"), "no singular values"),
        (("gram64", 4, True, "tpu"), "float64"),
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


@pytest.mark.parametrize("model", [1, 2])
def test_a_mesh_changes_nothing(model: int) -> None:
    assert len(jax.devices()) == 4
    mesh = data_mesh(jax.devices(), model)
    assert dict(mesh.shape) == {"data": 4 // model, "model": model}
    f = Partial(apply_bent, jnp.asarray(prescribed(8, 6, np.geomspace(2, 0.1, 6)), jnp.float32))
    xs = sample((6,), count=11)
    spread = shard_parameters(f, mesh) if model > 1 else f
    if model > 1:
        assert {s.data.shape for s in jax.tree.leaves(spread)[0].addressable_shards} == {(4, 6)}
    for batch_size in (None, 4, 5):
        together = score_samples(spread, xs, mesh=mesh, batch_size=batch_size)
        np.testing.assert_allclose(together, score_samples(f, xs), atol=2e-5)


def test_mesh_needs_its_axis() -> None:
    mesh = jax.make_mesh((4,), ("rows",), devices=jax.devices())
    with pytest.raises(ValueError, match="must be called data"):
        score_samples(Partial(apply_bent, jnp.eye(3)), jnp.ones((2, 3)), mesh=mesh)


def test_live_bytes_counts_what_is_alive() -> None:
    def f(x: jax.Array) -> jax.Array:
        big = jnp.broadcast_to(x[:, None], (1000, 50))  # 200 kB, beside 4 kB
        small = big.sum(axis=1)
        return jax.lax.scan(lambda c, _: (jnp.sin(c), None), small, None, length=5)[0]

    assert 204_000 <= live_bytes(f, jax.ShapeDtypeStruct((1000,), jnp.float32)) <= 212_000


def test_chunk_follows_the_activations_and_is_even() -> None:
    def f(x: jax.Array) -> jax.Array:
        hidden = jnp.tanh(jnp.ones((2_000_000, 1)) @ x[:1])  # 8 MB for each product
        return hidden[:100] * x

    x = jax.ShapeDtypeStruct((100,), jnp.float32)
    chunk = default_chunk(f, x, "reverse", "cpu")
    assert 1 <= chunk < 10
    assert default_chunk(f, x, "reverse", "cpu", samples=100) == 1
    assert default_chunk(lambda x: x, x, "auto", "cpu") == 100
    assert [even(100, most) for most in (100, 1000, 60, 34, 33)] == [100, 100, 50, 34, 25]


def test_what_does_not_fit_is_made_smaller_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(8, 6, np.geomspace(2, 0.1, 6)), jnp.float32))
    xs = sample((6,), count=12)
    plain = score_samples(f, xs)
    monkeypatch.setattr(batches, "available", lambda platform: 4 * 8 * 6 * 8 * 4)
    with pytest.warns(ResourceWarning, match="a batch of 12 needs more memory than there is; 2 at once"):
        np.testing.assert_allclose(score_samples(f, xs, batch_size=12), plain, atol=2e-5)
    with pytest.warns(ResourceWarning, match="a chunk of 6 needs more memory than there is; 1 at once"):
        np.testing.assert_allclose(score_samples(f, xs, chunk=6, batch_size=2), plain, atol=2e-5)


def test_available_memory_is_a_sensible_number() -> None:
    free = available("cpu")
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("precision", ["tf32", "bf16", "tf32x3", "bf16x3"])
def test_a_cpu_has_one_precision(precision: Any) -> None:
    with pytest.raises(ValueError, match="this CPU computes in float32"):
        jepa_score(lambda x: x, jnp.ones(3), precision=precision)
    with pytest.raises(ValueError, match="half"):
        arithmetic("half", "cpu")  # pyright: ignore[reportArgumentType]


def test_auto_takes_the_fewer_products() -> None:
    def count(f: Callable[[jax.Array], jax.Array], size: int, mode: Any) -> int:
        return len(str(jax.make_jaxpr(lambda x: jacobian(f, x, mode=mode))(jnp.zeros(size))))

    wide, tall = Partial(apply_bent, jnp.ones((2, 9))), Partial(apply_bent, jnp.ones((9, 2)))
    assert count(wide, 9, "auto") == count(wide, 9, "reverse") != count(wide, 9, "forward")
    assert count(tall, 2, "auto") == count(tall, 2, "forward") != count(tall, 2, "reverse")


@pytest.mark.parametrize("apply", [apply_linear, apply_bent])
def test_scaling_the_output_shifts_the_score(apply: Callable[..., jax.Array]) -> None:
    a, x = jnp.asarray(prescribed(5, 3, [2, 1, 0.5]), jnp.float32), sample((3,))
    shift = jepa_score(lambda x: 7.0 * apply(a, x), x) - jepa_score(lambda x: apply(a, x), x)
    assert float(shift) == pytest.approx(3 * math.log(7), abs=1e-4)


def test_rotating_output_or_input_changes_nothing() -> None:
    a, x = jnp.asarray(prescribed(5, 3, [2, 1, 0.5]), jnp.float32), sample((3,))
    p, q = (jnp.asarray(orthogonal(n, 4), jnp.float32) for n in (5, 3))
    plain = float(jepa_score(lambda x: apply_bent(a, x), x))
    assert float(jepa_score(lambda x: p @ apply_bent(a, x), x)) == pytest.approx(plain, abs=1e-5)
    assert float(jepa_score(lambda x: apply_bent(a, q @ x), q.T @ x)) == pytest.approx(plain, abs=1e-5)
    assert float(jepa_score(lambda x: apply_bent(a, q @ x), x)) != pytest.approx(plain, abs=1e-3)


def test_linear_map_scores_a_constant_and_a_bent_one_does_not() -> None:
    a, xs = jnp.asarray(prescribed(5, 3, [2, 1, 0.5]), jnp.float32), sample((3,), count=20)
    assert np.ptp(score_samples(Partial(apply_linear, a), xs)) < 1e-5
    assert np.ptp(score_samples(Partial(apply_bent, a), xs)) > 0.1


@pytest.mark.parametrize("eps", [1e-6, 1e-2, 0.5])
def test_small_singular_values_are_clipped_and_counted(eps: float) -> None:
    spectrum = np.array([3, 0.5, 1e-3, 0])
    result = evaluate(Partial(apply_linear, jnp.diag(jnp.asarray(spectrum, jnp.float32))), jnp.zeros(4), eps)
    assert result.clipped == (spectrum <= eps).sum()  # at eps counts: 0.5 is exact in binary
    assert float(result.score) == pytest.approx(np.log(np.maximum(spectrum, eps)).sum(), rel=1e-6)
    np.testing.assert_allclose(result.singular_values, spectrum, atol=1e-7)


@pytest.mark.parametrize(("size", "null"), [(3, 0), (4, 0), (5, 1), (8, 1)])
def test_null_direction_of_a_sphere(size: int, null: int) -> None:
    dim, eps = 5, 1e-4
    a, x = prescribed(dim, size, np.linspace(1, 0.5, min(dim, size))), sample((size,))
    z = np.tanh(a @ np.asarray(x, np.float64))
    unit, norm = z / np.linalg.norm(z), np.linalg.norm(z)
    j = (np.eye(dim) - np.outer(unit, unit)) @ bent_jacobian(a, x) / norm
    exact = np.linalg.svd(j, compute_uv=False)[: min(size, dim - 1)]
    f = Partial(apply_sphere, jnp.asarray(a, jnp.float32))
    result = evaluate(f, x, eps, null_directions=1)
    assert result.clipped == null
    assert float(result.score) == pytest.approx(np.log(exact).sum() + null * math.log(eps), abs=1e-4)


def test_null_directions_are_read_from_the_function() -> None:
    a = jnp.eye(3)
    encoder = Encoder(a, apply_linear, (3,), 3, None, null_directions=2)
    assert float(jepa_score(encoder, jnp.ones(3), 1e-3)) == pytest.approx(2 * math.log(1e-3))
    assert float(jepa_score(encoder, jnp.ones(3), 1e-3, null_directions=0)) == pytest.approx(0, abs=1e-6)
    scores = score_samples(encoder, jnp.ones((3, 3)), 1e-3)
    np.testing.assert_allclose(scores, 2 * math.log(1e-3), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 10, 100])
@pytest.mark.parametrize("host", [False, True])
def test_score_samples_is_a_loop(batch_size: int | None, host: bool) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0.2]), jnp.float32))
    xs = sample((2, 3), count=10)
    loop = jnp.stack([jepa_score(f, x) for x in xs])
    scores = score_samples(f, np.asarray(xs) if host else xs, batch_size=batch_size)
    assert scores.shape == (10,)
    np.testing.assert_allclose(scores, loop, atol=2e-5)


def test_score_batches_gives_everything() -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0]), jnp.float32))
    xs = sample((6,), count=10)
    batches = list(score_batches(f, xs, batch_size=4))
    assert [len(b.score) for b in batches] == [4, 4, 2]
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
    np.testing.assert_allclose(whole.embedding, jax.vmap(f)(xs), atol=1e-6)
    np.testing.assert_allclose(whole.singular_values, [singular_values(f, x) for x in xs], atol=1e-6)
    assert (whole.clipped == 1).all()


@pytest.mark.parametrize("options", [{"mode": "forward"}, {"mode": "reverse", "chunk": 2}, {"chunk": 1}])
def test_how_to_differentiate_changes_nothing(options: dict[str, Any]) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0.2]), jnp.float32))
    xs = sample((6,), count=4)
    np.testing.assert_allclose(score_samples(f, xs, **options), score_samples(f, xs), atol=1e-5)


def test_last_batch_and_other_weights_need_no_compilation() -> None:
    traces = 0

    def apply(a: jax.Array, x: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return jnp.tanh(a @ x)

    def encoder(scale: float) -> Encoder:
        return Encoder(scale * jnp.eye(3), apply, (3,), 3)

    def traced(f: Any, count: int) -> int:
        before = traces
        score_samples(f, sample((3,), count=count), batch_size=4)
        return traces - before

    shape_only = 1  # at most: asking for the embedding's size
    assert traced(encoder(1), 4) > shape_only
    assert traced(encoder(1), 10) <= shape_only
    assert traced(encoder(2), 10) <= shape_only
    other = score_samples(encoder(2), jnp.zeros((2, 3)))
    np.testing.assert_allclose(other, 3 * math.log(2), rtol=1e-5)

    def plain(x: jax.Array) -> jax.Array:
        return apply(jnp.eye(3), x)

    assert traced(plain, 4) > shape_only
    assert traced(plain, 10) <= shape_only


def test_encoder_is_a_pytree_and_checks_its_sample() -> None:
    a = jnp.asarray(prescribed(4, 3, [2, 1, 0.5]), jnp.float32)
    encoder = Encoder(a, apply_bent, (3,), 4, "normal", 0)
    assert len(jax.tree.leaves(encoder)) == 1
    xs = sample((3,), count=5)
    np.testing.assert_allclose(score_samples(encoder, xs), score_samples(lambda x: apply_bent(a, x), xs), atol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda e, x: e(x))(encoder, xs[0]), apply_bent(a, xs[0]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[3\], not \[5, 3\].*vmap"):
        encoder(xs)


@pytest.mark.parametrize(
    ("f", "x", "options", "match"),
    [
        (lambda x: x, jnp.ones((2, 2)), {}, "one vector"),
        (lambda x: x.sum(), jnp.ones(3), {}, "one vector"),
        (lambda x: (x, x), jnp.ones(3), {}, "one vector"),
        (lambda x: x, jnp.ones(3, jnp.int32), {}, "floating-point input, not int32"),
        (lambda x: x, jnp.ones(3), {"mode": "sideways"}, "sideways"),
        (lambda x: x, jnp.ones(3), {"chunk": 0}, "chunk is 0"),
        (lambda x: x, jnp.ones(3), {"eps": 0.0}, "eps is 0.0"),
        (lambda x: x, jnp.ones(3), {"eps": -1e-6}, "eps is -1e-06"),
        (lambda x: x, jnp.ones(3), {"tangent": jnp.ones((2, 1))}, "tangent has shape"),
        (lambda x: x, jnp.ones(3), {"method": "qr", "null_directions": 1}, "null directions"),
    ],
)
def test_bad_arguments(f: Any, x: jax.Array, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        jepa_score(f, x, **options)


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        score_samples(lambda x: x, jnp.ones((0, 3)))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        score_samples(lambda x: x, jnp.ones((2, 3)), batch_size=batch_size)


def test_default_batch_size_bounds_memory() -> None:
    assert default_batch_size(10, 2, 16, "cpu") == 10
    assert default_batch_size(10**6, 2, 16, "cpu") == 4096
    assert default_batch_size(10**6, 150_528, 768, "cpu") == 1
    size = default_batch_size(10**6, 3072, 128, "cpu")
    assert 1 < size < 4096
    assert size * 3072 * 128 * 4 < 256 * 2**20


@pytest.mark.parametrize("dim", [1, 4])
def test_normal_law(dim: int) -> None:
    z = np.random.default_rng(0).standard_normal((6, dim))
    exact = stats.multivariate_normal.logpdf(z, np.zeros(dim))
    law = base_log_density(jnp.asarray(z, jnp.float32), "normal")
    assert law is not None
    np.testing.assert_allclose(law, np.reshape(exact, 6), rtol=1e-5)


@pytest.mark.parametrize(("dim", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)])
def test_sphere_law_is_one_over_the_area(dim: int, area: float) -> None:
    law = base_log_density(jnp.zeros((2, dim)), "sphere")
    assert law is not None
    np.testing.assert_allclose(law, [-math.log(area)] * 2, rtol=1e-5)


def test_other_laws() -> None:
    assert base_log_density(jnp.zeros(3), None) is None
    with pytest.raises(ValueError, match="cauchy"):
        base_log_density(jnp.zeros(3), "cauchy")


@pytest.mark.parametrize("name", ["banana", "coupling_2d", "coupling_8d"])
def test_a_map_to_the_normal_law_gives_the_exact_density(name: str, key: jax.Array) -> None:
    world = WORLDS[name]()
    xs, states = world.sample(key, 50)
    inverse = inspect.getclosurevars(world.log_density).nonlocals["inverse"]
    batch = next(score_batches(lambda x: inverse(x)[0], xs))
    law = base_log_density(batch.embedding, "normal")
    np.testing.assert_allclose(batch.score + law, jax.vmap(world.log_density)(states), atol=2e-4)


def test_an_equal_area_map_to_the_sphere_gives_the_uniform_density() -> None:
    def archimedes(u: jax.Array) -> jax.Array:
        height, angle = 2 * u[0] - 1, 2 * jnp.pi * u[1]
        radius = jnp.sqrt(1 - height**2)
        return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), height])

    xs = jnp.asarray(np.random.default_rng(0).uniform(0.02, 0.98, (50, 2)), jnp.float32)
    batch = next(score_batches(archimedes, xs))
    np.testing.assert_allclose(batch.score + base_log_density(batch.embedding, "sphere"), 0, atol=1e-4)
