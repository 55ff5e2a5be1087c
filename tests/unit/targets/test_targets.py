"""Targets of masked recipes: closed forms, and no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax.targets import gradient_targets, pixel_targets, product_targets, whitening
from jepa_jax.targets.gradient import FLOOR, ratio_gradient


def test_a_step_edge_has_the_ratio_of_its_sides() -> None:
    image = jnp.where(jnp.arange(16) < 8, 2.0, 6.0)[None, :, None] * jnp.ones((12, 1, 1))
    found = np.asarray(ratio_gradient(image, 2))[:, :, 0]
    # Around column 8, the left half has columns 6, 7, 8 and the right half 8, 9, 10, of five rows each.
    left, right = 5 * (2 + 2 + 6), 5 * (6 + 6 + 6)
    np.testing.assert_allclose(found[:, 8], np.log((right + FLOOR) / (left + FLOOR)), rtol=1e-5)
    np.testing.assert_allclose(found[:, :6], 0, atol=1e-6)


def test_both_directions_add_as_squares() -> None:
    across = jnp.exp(0.3 * jnp.arange(9.0))[None, :, None] * jnp.ones((9, 1, 1))
    one, two = (ratio_gradient(a, 1)[4, 4, 0] for a in (across, jnp.swapaxes(across, 0, 1)))
    both = ratio_gradient(across * jnp.swapaxes(across, 0, 1), 1)[4, 4, 0]
    assert float(one) == pytest.approx(float(two), rel=1e-6)
    assert float(both) == pytest.approx(2**0.5 * float(one), rel=1e-3)


def test_a_factor_of_the_intensity_does_not_matter(key: jax.Array) -> None:
    x = jax.random.normal(key, (16, 16, 1)) + 3
    targets = gradient_targets(lambda maps: maps.reshape(16, -1), (1, 2, 4), False)
    at = jnp.arange(16)
    np.testing.assert_allclose(targets({}, x)(at), targets({}, x + jnp.log(7.0))(at), atol=2e-3)
    assert targets({}, x)(at).shape == (16, 16 * 3)


def test_pixels_are_those_of_the_patch_and_have_no_gradient(key: jax.Array) -> None:
    x = jax.random.normal(key, (4, 6))
    targets = pixel_targets(lambda params, x: params * x, False)
    np.testing.assert_array_equal(targets(jnp.asarray(2.0), x)(jnp.asarray([1, 3])), 2 * x[jnp.asarray([1, 3])])
    assert jax.grad(lambda p: targets(p, x)(jnp.arange(4)).sum())(jnp.asarray(2.0)) == 0
    normed = pixel_targets(lambda params, x: x, True)(None, x)(jnp.arange(4))
    np.testing.assert_allclose(normed.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(normed.std(1), 1, rtol=1e-4)


def test_products_of_one_normal_law_are_uncorrelated_with_variance_one(key: jax.Array) -> None:
    mix = jax.random.normal(jax.random.key(7), (3, 3)) + 2 * jnp.eye(3)
    patches = jax.random.normal(key, (40_000, 3)) @ mix + 5
    of_batch = whitening(patches)
    np.testing.assert_allclose(of_batch.root @ of_batch.root.T, np.corrcoef(patches.T), rtol=1e-3, atol=1e-3)
    found = np.asarray(product_targets(lambda params, x: x, False)((None, of_batch), patches)(jnp.arange(40_000)))
    assert found.shape == (40_000, 6)
    np.testing.assert_allclose(found.mean(0), 0, atol=0.005)  # less the ridge
    np.testing.assert_allclose(np.cov(found.T), np.eye(6), atol=0.05)


def test_products_tell_laws_apart_whose_numbers_do_not(key: jax.Array) -> None:
    one = jax.random.normal(key, (20_000, 2))
    signs = jnp.where(jnp.arange(20_000) < 10_000, 1.0, -1.0)  # of the correlation
    patches = jnp.stack([one[:, 0], 0.6 * signs * one[:, 0] + 0.8 * one[:, 1]], axis=1)
    found = product_targets(lambda params, x: x, False)((None, whitening(patches)), patches)(jnp.arange(20_000))
    half = np.asarray(found).reshape(2, 10_000, 3).mean(1)
    np.testing.assert_allclose(half[:, 1], [0.6, -0.6], atol=0.05)
    np.testing.assert_allclose(patches.reshape(2, 10_000, 2).mean(1), 0, atol=0.05)


def test_a_number_that_never_changes_has_finite_products(key: jax.Array) -> None:
    patches = jax.random.normal(key, (100, 3)).at[:, 1].set(2.0)
    assert jnp.isfinite(
        product_targets(lambda params, x: x, False)((None, whitening(patches)), patches)(jnp.arange(100))
    ).all()


def test_products_do_not_depend_on_units(key: jax.Array) -> None:
    patches = jax.random.normal(key, (500, 3))
    found = [
        product_targets(lambda params, x: x, False)((None, whitening(x)), x)(jnp.arange(500))
        for x in (patches, patches * jnp.asarray([[1e4, 1.0, 1e-3]]) + jnp.asarray([[0.0, 5.0, 0.0]]))
    ]
    np.testing.assert_allclose(found[1], found[0], atol=2e-3)
