"""Tangent spaces estimated from neighbours."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jepa_jax.density import score_samples, tangent
from jepa_jax.density.tangent import estimate_tangents
from jepa_jax.worlds import WORLDS
from tests.helpers.maps import rng, two_layers


def angles(estimated: Any, exact: Any) -> np.ndarray:
    """Largest principal angle of each pair of subspaces, in degrees."""
    cosines = np.linalg.svd(np.swapaxes(np.asarray(exact), 1, 2) @ np.asarray(estimated), compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines[:, -1], 0, 1)))


def make_sphere(count: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng().standard_normal((count, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x, np.linalg.svd(x[:, None])[2][:, 1:].transpose(0, 2, 1)


def make_swiss_roll(count: int) -> tuple[np.ndarray, np.ndarray]:
    """In a tilted three-dimensional space of ten numbers."""
    t, height = 1.5 * np.pi * (1 + 2 * rng(0).random(count)), 21 * rng(1).random(count)
    x = np.stack([t * np.cos(t), height, t * np.sin(t)], 1)
    along = np.stack([np.cos(t) - t * np.sin(t), 0 * t, np.sin(t) + t * np.cos(t)], 1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = np.broadcast_to([0.0, 1.0, 0.0], along.shape)
    frame = np.linalg.qr(rng(2).standard_normal((10, 10)))[0][:3]
    return x @ frame + 100, (np.stack([along, up], 1) @ frame).transpose(0, 2, 1)


def make_sprites(count: int) -> tuple[np.ndarray, np.ndarray]:
    world = WORLDS["sprites"]()
    assert world.tangent is not None
    x, states = world.sample(jax.random.key(0), count)
    return np.asarray(x), np.asarray(jax.jit(jax.vmap(world.tangent))(states))


@pytest.mark.parametrize(
    ("make", "most"),
    [(make_sphere, 1.0), (make_swiss_roll, 1.5), (make_sprites, 10.0)],
    ids=["sphere", "swiss roll", "sprites"],
)
def test_estimated_tangents_close_in_on_the_exact_ones(make: Any, most: float) -> None:
    x, exact = make(4000)
    dim = exact.shape[-1]
    few, many = (angles(estimate_tangents(x[:n], dim, queries=x[:400]), exact[:400]) for n in (400, 4000))
    assert np.median(many) < most
    assert np.median(many) < 0.7 * np.median(few)
    assert np.median(few) < 30


def test_tangents_of_a_plane_are_exact_and_orthonormal() -> None:
    frame = np.linalg.qr(rng().standard_normal((6, 6)))[0][:2]
    x = (rng(1).standard_normal((60, 2)) @ frame + 3).reshape(60, 2, 3)
    bases = estimate_tangents(x, 2, neighbours=5)
    assert bases.shape == (60, 6, 2)
    assert bases.dtype == np.float32
    np.testing.assert_allclose(np.swapaxes(bases, 1, 2) @ bases, np.broadcast_to(np.eye(2), (60, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(
        bases @ np.swapaxes(bases, 1, 2), np.broadcast_to(frame.T @ frame, (60, 6, 6)), atol=1e-4
    )


def test_a_tangent_is_estimated_from_the_other_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.concatenate([make_sphere(200)[0], np.zeros((200, 2))], axis=1)
    all_at_once = estimate_tangents(x, 2, neighbours=7)
    without_it = estimate_tangents(x[1:], 2, neighbours=7, queries=x[:1])
    np.testing.assert_allclose(angles(all_at_once[:1], without_it), 0, atol=0.05)
    with_it = estimate_tangents(x, 2, neighbours=7, queries=x[:1])
    assert angles(all_at_once[:1], with_it) > 0.1
    monkeypatch.setattr(tangent, "CHUNK_NUMBERS", 1000)  # five samples at once
    np.testing.assert_allclose(angles(all_at_once, estimate_tangents(x, 2, neighbours=7)), 0, atol=0.05)


@pytest.mark.parametrize("make", [make_swiss_roll, make_sprites])
def test_score_with_an_estimated_tangent(make: Any) -> None:
    x, exact = make(4000)
    dim = exact.shape[-1]
    estimated = estimate_tangents(x, dim, queries=x[:300])
    f, xs = two_layers(16, math.prod(x.shape[1:])), jnp.asarray(x[:300] / 10, jnp.float32)
    true = score_samples(f, xs, tangent=np.asarray(exact[:300], np.float32))
    near = score_samples(f, xs, tangent=estimated)
    assert np.median(np.abs(near - true)) < 0.15 * np.std(true)
    assert stats.spearmanr(near, true)[0] > 0.95
    turn = np.linalg.qr(rng().standard_normal((dim, dim)))[0].astype(np.float32)
    np.testing.assert_allclose(score_samples(f, xs, tangent=estimated @ turn), near, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"dim": 4}, "a sample has 3 numbers"),
        ({"dim": 2, "neighbours": 1}, "more neighbours"),
        ({"dim": 2, "neighbours": 10}, "need 11 samples, not 10"),
        ({"dim": 2, "queries": np.zeros((2, 4))}, "queries have 4 numbers"),
    ],
)
def test_tangents_that_cannot_be_estimated(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        estimate_tangents(np.asarray(make_sphere(10)[0]), **options)


def test_tangents_are_orthonormal_where_neighbours_coincide() -> None:
    x = np.zeros((20, 30), np.float32)
    x[:3, 0] = 1, 2, 3  # one direction, and two are asked for
    bases = estimate_tangents(x, 2, neighbours=5)
    np.testing.assert_allclose(np.swapaxes(bases, 1, 2) @ bases, np.broadcast_to(np.eye(2), (20, 2, 2)), atol=1e-5)


def test_tangents_of_samples_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        estimate_tangents(np.full((10, 3), np.nan), 2)
