"""The score on maps whose Jacobian is known."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax import Encoder
from jepa_jax.density import (
    evaluate,
    jepa_score,
    score_samples,
)
from tests.helpers.maps import (
    SHAPES,
    TOLERANCE,
    apply_bent,
    apply_linear,
    apply_sphere,
    bent_jacobian,
    orthogonal,
    prescribed,
    sample,
)


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
