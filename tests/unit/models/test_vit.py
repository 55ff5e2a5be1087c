"""The vision transformer: its structure's short cuts change nothing."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax.density import jacobian, jepa_score, score_batches, score_samples
from jepa_jax.memory import inner_jaxprs
from jepa_jax.models.transformer import Block, sincos_positions
from jepa_jax.models.vit import ViT, vit_encoder
from jepa_jax.sharding import data_mesh, shard_parameters

TINY = ViT(image_size=12, patch_size=4, width=24, depth=3, heads=3)
WIDE = ViT(image_size=4, patch_size=2, width=24, depth=2, heads=2)  # width above the 12 numbers of a patch
OBLONG = ViT(image_size=(8, 12), patch_size=4, width=24, depth=2, heads=3)
ONE = ViT(image_size=8, patch_size=4, width=16, depth=1, heads=2, channels=1)
IJEPA = replace(TINY, class_token=False, pooling="mean", positions="sincos")
DINO = replace(TINY, layer_scale=True, registers=2)
GIANT = replace(TINY, layer_scale=True, mlp="swiglu", hidden=40)
CLIP = replace(TINY, pre_norm=True, patch_bias=False, mlp="quick_gelu", norm_eps=1e-5, projection=10)
BARE = replace(ONE, qkv_bias=False, pooling="mean", registers=1)
UP = replace(ONE, projection=20)
VARIANTS = {"ijepa": IJEPA, "dino": DINO, "giant": GIANT, "clip": CLIP, "bare": BARE, "up": UP}


def spread(config: ViT, key: jax.Array) -> dict:
    """Random weights, biases and gains included, far from the initial ones."""
    leaves, tree = jax.tree.flatten(config.network.init(key))
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten([a + 0.2 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)])


@partial(jax.jit, static_argnums=(0, 3))
def factor(config: ViT, params: dict, image: jax.Array, chunk: int | None) -> jax.Array:
    return config.network.factor(params, image, chunk, "cpu")[1]


def spectrum(a: jax.Array) -> np.ndarray:
    return np.linalg.svd(np.asarray(a, np.float64), compute_uv=False)


def live(config: ViT) -> int:
    """Singular values that are neither null by construction nor beyond the rank."""
    return min(config.dim - config.null_directions, int(np.prod(config.shape)))


@pytest.mark.parametrize("config", [TINY, WIDE, ONE, OBLONG])
@pytest.mark.parametrize("chunk", [None, 1, 5, 1000])
def test_factor_has_the_singular_values_of_the_jacobian(config: ViT, chunk: int | None, key: jax.Array) -> None:
    encoder = vit_encoder(config, spread(config, key))
    image = jax.random.normal(jax.random.key(1), config.shape)
    exact = spectrum(jax.jit(jacobian)(encoder, image))
    found = spectrum(factor(config, encoder.params, image, chunk))
    np.testing.assert_allclose(found[: live(config)], exact[: live(config)], rtol=2e-4)


@pytest.mark.parametrize("config", [TINY, OBLONG, *VARIANTS.values()])
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_factor_for_accelerators(config: ViT, platform: str, key: jax.Array) -> None:
    """They fill up tokens, take all heads at once, or keep the kernel of the patches."""
    encoder = vit_encoder(config, spread(config, key))
    image = jax.random.normal(jax.random.key(1), config.shape)
    exact = spectrum(jax.jit(jacobian)(encoder, image))
    found = spectrum(jax.jit(lambda p, x: config.network.factor(p, x, None, platform)[1])(encoder.params, image))
    np.testing.assert_allclose(found[: live(config)], exact[: live(config)], rtol=2e-4)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_in_float64(config: ViT, x64: None) -> None:
    """The factor is the Jacobian to rounding, and just the directions that are said to be null are."""
    params = jax.tree.map(lambda a: a.astype(jnp.float64), spread(config, jax.random.key(2)))
    image = jax.random.normal(jax.random.key(1), config.shape, jnp.float64)
    encoder = vit_encoder(config, params)
    assert encoder(image).shape == (config.dim,)
    exact = spectrum(jax.jit(partial(jacobian, mode="forward"))(encoder, image))
    found = spectrum(factor(config, params, image, None))
    np.testing.assert_allclose(found[: live(config)], exact[: live(config)], rtol=1e-8)
    assert exact[live(config) - 1] > 1e-4
    assert (exact[config.dim - config.null_directions :] < 1e-4 * exact[0]).all()


@pytest.mark.parametrize(
    ("variant", "nulls"),
    [("ijepa", 1), ("dino", 2), ("clip", 0), ("up", 6), ("bare", 1)],
)
def test_null_directions(variant: str, nulls: int) -> None:
    assert VARIANTS[variant].null_directions == nulls


def test_sincos_positions_are_products_of_row_and_column() -> None:
    """The squared distance of two patches is that of their columns plus that of their rows."""
    places = sincos_positions(IJEPA.grid, IJEPA.width)
    assert places.shape == (9, 24)
    np.testing.assert_allclose((places**2).sum(1), 12, rtol=1e-5)
    distance = ((places[:, None] - places[None]) ** 2).sum(-1)
    np.testing.assert_allclose(distance[0, 4], distance[0, 1] + distance[0, 3], rtol=1e-5)
    np.testing.assert_allclose(distance[0, 1], distance[0, 3], rtol=1e-5)
    oblong = sincos_positions((2, 5), 24)
    np.testing.assert_array_equal(oblong[:3], places[:3])  # a row, whatever comes after it
    np.testing.assert_array_equal(oblong[5], places[3])  # the first of the second row
    np.testing.assert_allclose(places[1, :6], np.sin(10000.0 ** -(np.arange(6) / 6)), atol=1e-6)


def test_sincos_positions_are_not_trained(key: jax.Array) -> None:
    params = IJEPA.network.init(key)
    image = jax.random.normal(key, IJEPA.shape)
    grad = jax.grad(lambda p: vit_encoder(IJEPA, p)(image)[0])(params)
    assert not np.any(grad["positions"])
    assert np.any(grad["patch"]["kernel"])


def test_factor_in_float64_is_the_jacobian_to_rounding(x64: None) -> None:
    params = jax.tree.map(lambda a: a.astype(jnp.float64), spread(TINY, jax.random.key(2)))
    image = jax.random.normal(jax.random.key(1), TINY.shape, jnp.float64)
    encoder = vit_encoder(TINY, params)
    exact = spectrum(jax.jit(partial(jacobian, mode="forward"))(encoder, image))[: live(TINY)]
    np.testing.assert_allclose(spectrum(factor(TINY, params, image, None))[: live(TINY)], exact, rtol=1e-9)


@pytest.mark.parametrize("queries", [1, 4])
def test_a_block_with_few_queries_is_the_first_rows_of_the_whole(queries: int, key: jax.Array) -> None:
    from flax import nnx

    block = Block(TINY.network.body, rngs=nnx.Rngs(key))
    x = jax.random.normal(key, (TINY.tokens, TINY.width))
    np.testing.assert_allclose(block(x, queries), block(x)[:queries], atol=1e-5)


def test_score_uses_the_factor_and_agrees_with_the_jacobian(key: jax.Array) -> None:
    encoder = vit_encoder(TINY, spread(TINY, key))
    images = jax.random.normal(jax.random.key(1), (3, *TINY.shape))
    plain = score_samples(encoder, images, mode="reverse")  # named, so the encoder is differentiated
    np.testing.assert_allclose(score_samples(encoder, images), plain, atol=2e-3)
    np.testing.assert_allclose(jax.jit(jepa_score)(encoder, images[0]), plain[0], atol=2e-3)
    batch = next(score_batches(encoder, images))
    assert (batch.clipped == 2).all()
    np.testing.assert_allclose(batch.embedding, jax.vmap(encoder)(images), atol=1e-5)


def test_embedding_is_layer_normed_and_position_matters(key: jax.Array) -> None:
    params = TINY.network.init(key)
    encoder = vit_encoder(TINY, params)
    image = jax.random.normal(key, TINY.shape)
    z = encoder(image)
    assert float(jnp.mean(z)) == pytest.approx(0, abs=1e-5)
    assert float(jnp.std(z)) == pytest.approx(1, abs=1e-3)
    swapped = jnp.concatenate([image[4:8], image[:4], image[8:]])  # two rows of patches
    assert not np.allclose(encoder(swapped), z, atol=1e-4)
    unplaced = vit_encoder(TINY, {**params, "positions": jnp.zeros_like(params["positions"])})
    np.testing.assert_allclose(unplaced(swapped), unplaced(image), atol=1e-5)


@pytest.mark.parametrize("model", [1, 2])
def test_sharded_parameters_change_nothing(model: int, key: jax.Array) -> None:
    encoder = vit_encoder(TINY, spread(TINY, key))
    images = jax.random.normal(jax.random.key(1), (5, *TINY.shape))
    mesh = data_mesh(jax.devices(), model)
    spread_out = shard_parameters(encoder, mesh)
    kernel = spread_out.params["blocks"]["fc1"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // model
    scores = score_samples(spread_out, images, mesh=mesh)
    np.testing.assert_allclose(scores, score_samples(encoder, images), atol=2e-3)


def test_the_program_is_as_long_at_any_depth() -> None:
    """So compiling takes as long."""

    def lines(jaxpr: Any) -> int:
        return sum(1 + sum(map(lines, inner_jaxprs(eqn.params))) for eqn in jaxpr.eqns)

    def length(depth: int) -> int:
        config = replace(TINY, depth=depth)
        shapes = jax.eval_shape(lambda: config.network.init(jax.random.key(0)))
        image = jnp.ones(config.shape)
        both = (config.network.apply, partial(config.network.factor, chunk=None, platform="cpu"))
        return sum(lines(jax.make_jaxpr(f)(shapes, image).jaxpr) for f in both)

    assert length(2) == length(12)


def test_other_weights_need_no_compilation(key: jax.Array) -> None:
    one, two = (vit_encoder(TINY, TINY.network.init(k)) for k in jax.random.split(key))
    assert jax.tree.structure(one) == jax.tree.structure(two)


@pytest.mark.parametrize("config", [TINY, GIANT])
def test_flops_are_those_of_the_listing(config: ViT, key: jax.Array) -> None:
    """Counted in the traced backward pass of a block: every product of matrices there is."""
    from flax import nnx

    block = Block(config.network.body, rngs=nnx.Rngs(key))
    x = jnp.ones((config.tokens, config.width))
    jaxpr = jax.make_jaxpr(jax.vjp(block, x)[1])(x)
    count = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            depth = np.prod([eqn.invars[0].aval.shape[i] for i in contracted])
            count += 2 * int(np.prod(eqn.outvars[0].aval.shape) * depth)
    patches = 2 * (config.tokens - 1) * config.width * config.channels * config.patch_size**2
    assert config.depth * count + patches == config.flops


@pytest.mark.parametrize(
    "sizes", [{"image_size": 13}, {"image_size": (12, 10)}, {"heads": 5}, {"class_token": False}, {"image_size": 2}]
)
def test_sizes_that_do_not_fit(sizes: dict) -> None:
    with pytest.raises(ValueError, match=r"not a multiple|do not divide|class token"):
        ViT(**{"image_size": 12, "patch_size": 4, "width": 24, "depth": 3, "heads": 3, **sizes})
