"""Encoders and predictors as pure functions of one sample."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build, build_mlp
from jepa_jax.models.networks import ACTIVATIONS

VECTOR, IMAGE = (3,), (7, 5, 2)


def encoder(kind: Any = "mlp", **options: Any) -> cfg.Encoder:
    if kind == "vit":
        return cfg.ViT(**{"dim": 6, **options})
    return {"mlp": cfg.MLP, "conv": cfg.Conv}[kind](**{"widths": (8, 4), "dim": 6, **options})


def sample(shape: tuple[int, ...], count: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal((count, *shape)), jnp.float32)


CASES = [("mlp", VECTOR), ("mlp", IMAGE), ("conv", IMAGE), ("conv", (8, 8, 1)), ("vit", (8, 8, 1)), ("vit", (4, 12, 2))]


@pytest.mark.parametrize(("kind", "shape"), CASES)
@pytest.mark.parametrize("output", ["free", "sphere"])
def test_shapes_purity_and_batching(kind: str, shape: tuple[int, ...], output: str, key: jax.Array) -> None:
    model = build(encoder(kind), shape, output)
    params = model.init(key)
    xs = sample(shape, 4)
    z = model.apply(params, xs[0])
    assert z.shape == (6,) == (model.dim,)
    assert z.dtype == jnp.float32
    assert model.null_directions == (output == "sphere")
    batched = jax.jit(jax.vmap(model.apply, (None, 0)))(params, xs)
    np.testing.assert_allclose(batched, [model.apply(params, x) for x in xs], atol=1e-5)
    assert (model.apply(params, xs[0]) == z).all()
    norms = np.linalg.norm(batched, axis=1)
    assert np.allclose(norms, 1, atol=1e-5) == (output == "sphere")


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_init_is_a_plain_dict_that_depends_on_the_key(kind: str, shape: tuple[int, ...], key: jax.Array) -> None:
    model = build(encoder(kind, **({} if kind == "vit" else {"skip": True})), shape, "free")
    one, same, other = (jax.tree.leaves(model.init(k)["network"]) for k in (key, key, jax.random.key(1)))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))

    def is_plain(tree: Any) -> bool:
        if isinstance(tree, dict):
            return type(tree) is dict and all(isinstance(k, str) and is_plain(v) for k, v in tree.items())
        return isinstance(tree, jax.Array)

    assert is_plain(model.init(key))


def test_a_conv_net_sees_every_pixel_and_halves_the_side(key: jax.Array) -> None:
    model = build(encoder("conv"), IMAGE, "free")
    params = model.init(key)
    # 7 x 5 -> 4 x 3 -> 2 x 2, with 4 channels at the end.
    assert params["network"]["network"]["head"]["dense_0"]["kernel"].shape[0] == 2 * 2 * 4
    j = jax.jit(jax.jacrev(lambda x: model.apply(params, x)))(sample(IMAGE, 1)[0])
    assert (jnp.max(jnp.abs(j), axis=0) > 0).all()


def test_a_convolution_treats_every_place_alike(key: jax.Array) -> None:
    # One layer, then a map of 4 x 4: moving the image by two pixels moves what the head gets by one.
    model = build(encoder("conv", widths=(3,)), (8, 8, 1), "free")
    params = model.init(key)
    dense = params["network"]["network"]["head"]["dense_0"]
    image = jnp.zeros((8, 8, 1)).at[2:4, 2:4].set(sample((2, 2, 1), 1)[0])
    head = dense["kernel"].reshape(4, 4, 3, -1)
    dense["kernel"] = jnp.roll(head, (1, 1), (0, 1)).reshape(48, -1)
    moved = model.apply(params, jnp.roll(image, (2, 2), (0, 1)))
    dense["kernel"] = head.reshape(48, -1)
    np.testing.assert_allclose(moved, model.apply(params, image), atol=1e-5)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_input_is_standardised_by_constants(kind: str, shape: tuple[int, ...], key: jax.Array) -> None:
    model = build(encoder(kind), shape, "free")
    mean, scale = 2 + sample(shape, 1)[0], 3.0
    x = sample(shape, 2)[1]
    params = model.init(key, mean, scale)
    np.testing.assert_allclose(
        model.apply(params, x), model.apply(model.init(key), (x - mean) / scale), rtol=1e-4, atol=1e-5
    )
    grads = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, x) ** 2)))(params)
    assert all((g == 0).all() for g in jax.tree.leaves(grads["input"]))
    fixed = {"positions"} if kind == "vit" else set()
    assert {k for k, tree in grads["network"].items() if all((g == 0).all() for g in jax.tree.leaves(tree))} == fixed


def test_skip_adds_an_isometry(key: jax.Array) -> None:
    model = build(encoder(skip=True, dim=3), VECTOR, "free")
    params = model.init(key)
    inner = params["network"]
    silent = {**params, "network": {**jax.tree.map(jnp.zeros_like, inner), "skip": inner["skip"]}}
    x = sample(VECTOR, 1)[0]
    np.testing.assert_allclose(jnp.linalg.norm(model.apply(silent, x)), jnp.linalg.norm(x), rtol=1e-5)
    j = jax.jacfwd(lambda x: model.apply(silent, x))(x)
    np.testing.assert_allclose(j @ j.T, np.eye(3), atol=1e-5)
    without = {**params, "network": {**inner, "skip": jax.tree.map(jnp.zeros_like, inner["skip"])}}
    np.testing.assert_allclose(model.apply(without, x) + j @ x, model.apply(params, x), atol=1e-5)
    assert "skip" not in build(encoder(), VECTOR, "free").init(key)["network"]


def test_a_deep_network_does_not_depend_on_the_order_of_its_dict(key: jax.Array) -> None:
    model = build(encoder(widths=(4,) * 12), VECTOR, "free")
    params = model.init(key)
    x = sample(VECTOR, 1)[0]

    def reversed_order(tree: Any) -> Any:
        return {k: reversed_order(tree[k]) for k in reversed(tree)} if isinstance(tree, dict) else tree

    z = model.apply(params, x)
    assert (model.apply(reversed_order(params), x) == z).all()
    # By hand, layer after layer: a layer in another's slot would show, since all have one shape.
    layers = params["network"]["network"]
    h = x
    for i in range(13):
        h = h @ layers[f"dense_{i}"]["kernel"] + layers[f"dense_{i}"]["bias"]
        h = jax.nn.gelu(h) if i < 12 else h
    np.testing.assert_allclose(z, h, atol=1e-6)


def test_a_sphere_has_finite_derivatives_at_the_origin(key: jax.Array) -> None:
    model = build(encoder(), VECTOR, "sphere")
    zero = jax.tree.map(jnp.zeros_like, model.init(key))
    zero["input"]["scale"] = jnp.ones(VECTOR)
    grads = jax.grad(lambda p: jnp.sum(model.apply(p, jnp.ones(3))))(zero)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_every_activation_in_the_config_exists_and_is_smooth() -> None:
    assert set(typing.get_args(typing.get_type_hints(cfg.MLP)["activation"])) == set(ACTIVATIONS)
    for activation in ACTIVATIONS.values():
        left, right = (float(jax.grad(activation)(jnp.float32(x))) for x in (-1e-4, 1e-4))
        assert abs(left - right) < 1e-2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_the_one_asked_for(activation: Any, key: jax.Array) -> None:
    model = build(encoder(widths=(4,), activation=activation), VECTOR, "free")
    params = model.init(key)
    one, two = (params["network"]["network"][f"dense_{i}"] for i in range(2))
    x = sample(VECTOR, 1)[0]
    exact = ACTIVATIONS[activation](x @ one["kernel"] + one["bias"]) @ two["kernel"] + two["bias"]
    np.testing.assert_allclose(model.apply(params, x), exact, atol=1e-6)


def test_what_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match=r"conv needs images.*\[3\].*mlp"):
        build(encoder("conv"), VECTOR, "free")
    with pytest.raises(ValueError, match="resolve"):
        build(encoder(dim=None), VECTOR, "free")


def test_predictor(key: jax.Array) -> None:
    model = build_mlp((6, 8, 6))
    assert isinstance(model, Model)
    assert (model.dim, model.null_directions) == (6, 0)
    params = model.init(key)
    assert [params[f"dense_{i}"]["kernel"].shape for i in range(2)] == [(6, 8), (8, 6)]
    assert model.apply(params, jnp.ones(6)).shape == (6,)
