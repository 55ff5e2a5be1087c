"""Self-distillation against its definition written as loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jepa_jax.objectives import centred, distillation, sinkhorn


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("views", "large"), [(2, 2), (5, 2), (3, 1)])
def test_cross_entropy_of_different_views(views: int, large: int) -> None:
    student, teacher = draw(views, 4, 7), softmax(draw(large, 4, 7), axis=-1)
    pairs = [(v, g) for v in range(views) for g in range(large) if v != g]
    log = log_softmax(student / 0.1, axis=-1)
    expected = np.mean([-(teacher[g] * log[v]).sum(-1) for v, g in pairs], axis=0)
    found = distillation(jnp.asarray(student), jnp.asarray(teacher), temperature=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_least_is_the_teacher_s_entropy() -> None:
    logits = jnp.asarray(draw(1, 6, 5))
    teacher = jnp.broadcast_to(jax.nn.softmax(logits / 0.1), (2, 6, 5))
    entropy = -jnp.sum(teacher[0] * jnp.log(teacher[0]), axis=-1)
    student = jnp.broadcast_to(logits, (2, 6, 5))
    np.testing.assert_allclose(distillation(student, teacher, temperature=0.1), entropy, rtol=1e-4)
    assert (distillation(student + 0.1 * draw(2, 6, 5), teacher, temperature=0.1) > entropy).all()


def test_sinkhorn_uses_every_prototype_alike() -> None:
    skewed = jnp.asarray(draw(2, 64, 8)).at[:, :, 0].add(3.0)
    p = sinkhorn(skewed, temperature=0.5, iterations=50)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(p.mean(1), 1 / 8, rtol=1e-3)
    plain = centred(skewed, jnp.zeros(8), temperature=0.5)
    assert (plain.mean(1)[:, 0] > 0.5).all()
    # What each sample prefers among equally used prototypes stays: scaling rows and columns keeps cross-ratios.
    ratio = p[:, 0, 1] * p[:, 1, 2] / (p[:, 0, 2] * p[:, 1, 1])
    wanted = plain[:, 0, 1] * plain[:, 1, 2] / (plain[:, 0, 2] * plain[:, 1, 1])
    np.testing.assert_allclose(ratio, wanted, rtol=1e-3)


def test_a_view_is_not_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="no pair"):
        distillation(jnp.zeros((1, 3, 4)), jnp.ones((1, 3, 4)))
