"""Parts of the recipes that related systems need: conditions, categories, registers, positions, linear networks."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.data import Samples
from jepa_jax.data.in_memory import from_samples
from jepa_jax.errors import ConfigError
from jepa_jax.models import build
from jepa_jax.objectives import distance
from jepa_jax.objectives.infonce import infonce
from jepa_jax.recipes import Batch, build_loss, build_networks, init_networks
from jepa_jax.recipes.base import Embed, Setting
from jepa_jax.recipes.masked import MASKED
from jepa_jax.resolve import base_distribution, resolve
from jepa_jax.training.step import make_trainer

VIT = cfg.ViT(patch_size=(2, 4), width=8, depth=1, heads=2, dim=8)


@pytest.mark.parametrize("readout", ["mean", "register", "flatten"])
def test_registers_are_outside_of_every_mask(key: jax.Array, readout: str) -> None:
    dim = 6 * 8 if readout == "flatten" else 8
    options = dataclasses.replace(VIT, registers=2, readout=readout, dim=dim)
    network = build(options, (6, 8, 1), "free")
    params, x = network.init(key), jax.random.normal(key, (6, 8, 1))
    assert network.grid == (3, 2)
    assert network.tokens is not None
    some = network.tokens(params, x, jnp.asarray([4]), jnp.ones(1, bool))
    assert some.shape == (1, 8)  # tokens of the grid alone come out
    moved = jax.tree.map(jnp.copy, params)
    moved["network"]["registers"] += jnp.arange(8.0)[None]
    assert not np.allclose(
        network.tokens(moved, x, jnp.asarray([4]), jnp.ones(1, bool)), some
    )  # and all attend to them
    assert network.apply(params, x).shape == (dim,)


def test_each_row_has_a_map_of_its_own(key: jax.Array) -> None:
    options = dataclasses.replace(VIT, patch_size=(1, 2), per_row=True, row_positions="none", column_positions="none")
    network = build(options, (3, 4, 1), "free")
    params = network.init(key)["network"]["patch"]
    assert params["kernel"].shape == (3, 2, 8)
    tokens = jepa_jax.models.tokens.Patches((3, 4, 1), (1, 2), 8, per_row=True)(
        params, jnp.arange(12.0).reshape(3, 4, 1)
    )
    np.testing.assert_allclose(tokens[3], jnp.asarray([6.0, 7.0]) @ params["kernel"][1] + params["bias"][1], rtol=1e-5)


TABLE = cfg.ViT(
    patch_size=1, per_row=True, width=8, depth=1, heads=2, dim=24, readout="flatten", categories=(3, 0, 2),
    row_positions="learned", column_positions="none",
)  # fmt: skip


def test_a_category_is_a_vector_and_no_direction(key: jax.Array) -> None:
    network = build(TABLE, (3,), "free")
    params = network.init(key)
    apply = jax.jit(network.apply)
    jacobian = jax.jacrev(lambda x: network.apply(params, x))(jnp.asarray([2.0, 0.3, 1.0]))
    assert (jacobian[:, [0, 2]] == 0).all()
    assert (jacobian[:, 1] != 0).any()
    assert not np.allclose(apply(params, jnp.asarray([0.0, 0.3, 1.0])), apply(params, jnp.asarray([1.0, 0.3, 1.0])))
    assert np.isnan(apply(params, jnp.asarray([3.0, 0.3, 1.0]))).any()  # unseen in training
    assert np.isnan(apply(params, jnp.asarray([-1.0, 0.3, 1.0]))).any()


def test_rows_with_equal_features_have_equal_positions(key: jax.Array) -> None:
    options = dataclasses.replace(VIT, patch_size=(1, 2), row_positions="given", row_features=2)
    network = build(options, (4, 4, 1), "free")
    params = network.init(key, features=np.array([[0, 1], [3, 2], [0, 1], [5, 5.0]]))
    assert network.positions is not None
    places = np.asarray(network.positions(params)).reshape(4, 2, 8)
    np.testing.assert_array_equal(places[0], places[2])
    assert not np.allclose(places[0], places[1])
    np.testing.assert_array_equal(places[:, 0, :4], places[[0] * 4, 0, :4])  # half of the numbers are for the column
    with pytest.raises(ConfigError, match="row positions `given` need `row_features`"):
        build(dataclasses.replace(options, row_features=0), (4, 4, 1), "free")


@pytest.mark.parametrize(
    ("name", "error", "value"),
    [("l2", (3.0, 0.5), 9.25), ("l1", (3.0, -0.5), 3.5), ("smooth_l1", (3.0, 0.5), 2.625), ("l2", (0.0, 0.0), 0.0)],
)
def test_distances(name: str, error: tuple[float, float], value: float) -> None:
    e = jnp.asarray(error)
    assert float(distance(name, 1 + e, jnp.ones(2))) == pytest.approx(value)
    assert float(distance(name, 1 + e, jnp.ones(2), mean=True)) == pytest.approx(value / 2)


def test_the_cosine_does_not_see_lengths(key: jax.Array) -> None:
    a, b = jax.random.normal(key, (2, 5))
    assert float(distance("cosine", a, b)) == pytest.approx(float(distance("cosine", 3 * a, 0.1 * b)), abs=1e-5)
    cosine = a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b)
    assert float(distance("cosine", a, b)) == pytest.approx(float(2 - 2 * cosine), abs=1e-5)


@pytest.fixture(scope="module")
def turned() -> Samples:
    """Vectors whose partners are turned by an angle that only the condition tells."""
    draw = np.random.default_rng(0)
    x, angle = draw.standard_normal((2000, 2)), draw.uniform(0, 2 * np.pi, 2000)
    c, s = np.cos(angle), np.sin(angle)
    pair = np.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], axis=1)
    columns = {"x": x, "pair": pair, "condition": np.stack([c, s], axis=1)}
    return Samples(**{name: a.astype(np.float32) for name, a in columns.items()}, name="turned")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_wrong_condition_hurts(turned: Samples, key: jax.Array) -> None:
    config = cfg.Config(
        steps=400,
        data=cfg.Data("turned", batch_size=128),
        encoder=cfg.MLP(widths=(32,), dim=4),
        recipe=cfg.Pair(predictor=(64,), direction="forward"),
        objective=cfg.Objective("sigreg", weight=0.1, num_slices=32),
        optim=cfg.Optim(lr=3e-3, warmup_steps=10),
    )
    source = from_samples(turned, config.data)
    config = resolve(config, source)
    assert config.recipe.conditions == 2
    trainer = make_trainer(config, source)
    state, _ = trainer.run(trainer.init(), source.arrays, 0, config.steps)
    loss, _ = build_loss(config, build_networks(config, source.shape))
    views = (jnp.stack([turned.x[:500], turned.pair[:500]]),)
    condition = jnp.asarray(turned.condition[:500])
    error = jax.jit(
        lambda c: jnp.mean(loss(state["params"], state["params"], {}, Batch(views, key, 0.0, c)).prediction)
    )
    assert error(condition[::-1]) > 2 * error(condition)


def test_infonce_tells_predictions_from_other_targets(key: jax.Array) -> None:
    """Views of two laws are far from each other where all targets are one point, which must not pay."""
    tau, views = 0.1, (jax.random.normal(key, (2, 16, 3)),)
    config = cfg.Config(
        encoder=cfg.MLP(widths=(8,), dim=4),
        recipe=cfg.Pair(predictor=(8,), direction="forward"),
        objective=cfg.Objective("infonce", temperature=tau),
    )
    source = from_samples(Samples(np.asarray(views[0][0])), dataclasses.replace(config.data, noise=0.0))
    config = resolve(config, source)
    assert base_distribution(config) is None
    networks = build_networks(config, (3,))
    params = init_networks(networks, key)
    loss, _ = build_loss(config, networks)
    found = loss(params, params, {}, Batch(views, key, jnp.asarray(0.0)))
    weight, term = config.objective.weight, partial(infonce, temperature=tau)
    assert weight is not None
    total = jnp.mean(found.prediction) + weight * term(found.embedding, key)

    z, wanted = (jax.vmap(partial(networks["encoder"].apply, params["encoder"]))(view) for view in views[0])
    predicted = jax.vmap(partial(networks["predictor"].apply, params["predictor"]))(z)
    logits = (predicted / jnp.linalg.norm(predicted, axis=1, keepdims=True)) @ wanted.T / tau
    own = jnp.arange(16)
    entropies = [optax.softmax_cross_entropy_with_integer_labels(some, own) for some in (logits, logits.T)]
    exact = 2 * tau * (jnp.mean(jnp.stack(entropies)) - jnp.log(16)) + 2
    np.testing.assert_allclose(total, exact, rtol=1e-5)


def test_infonce_needs_predicted_embeddings() -> None:
    config = cfg.Config(
        encoder=cfg.ViT(patch_size=2),
        recipe=cfg.Pair(predictor=(8,), direction="forward", target="tokens"),
        objective=cfg.Objective("infonce"),
    )
    source = from_samples(Samples(np.random.default_rng(0).random((8, 4, 4, 1), np.float32)), config.data)
    with pytest.raises(ConfigError, match=r"`recipe\.target` tokens predicts none; use `recipe\.target` embedding"):
        resolve(config, source)


def test_a_target_without_gradient_has_none(key: jax.Array) -> None:
    """With stopped gradients only the predictor and the first view's encoder are pulled."""
    networks, grads = {}, {}
    views = (jax.random.normal(key, (2, 16, 3)),)
    for stopped in (False, True):
        config = cfg.Config(
            encoder=cfg.MLP(widths=(8,), dim=3),
            recipe=cfg.Pair(predictor="linear", direction="forward", stop_gradient=stopped),
            objective=cfg.Objective("none"),
        )
        config = resolve(
            config, from_samples(Samples(np.asarray(views[0][0])), dataclasses.replace(config.data, noise=0.0))
        )
        networks = build_networks(config, (3,))
        params = init_networks(networks, key)
        loss, _ = build_loss(config, networks)

        def error(params, views=views, loss=loss):
            return jnp.mean(loss(params, params, {}, Batch(views, key, jnp.asarray(0.0))).prediction)

        grads[stopped] = jax.jit(jax.grad(error))(params)
        flat = views[0].reshape(32, 3)
        z = jax.vmap(networks["encoder"].apply, (None, 0))(params["encoder"], flat).reshape(2, 16, 3)
        assert float(error(params)) == pytest.approx(float(jnp.mean(jnp.sum((z[0] - z[1]) ** 2, -1))), rel=1e-5)
    bias = [grads[s]["encoder"]["network"]["network"]["dense_1"]["bias"] for s in (False, True)]
    np.testing.assert_allclose(bias[0], 0, atol=1e-6)  # a shift of both embeddings changes nothing
    assert np.abs(bias[1]).max() > 1e-3


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_deep_linear_network_starts_balanced(key: jax.Array, depth: int) -> None:
    network = build(cfg.Linear(dim=4, depth=depth, start=0.3), (4,), "free")
    params = network.init(key, 5.0, 2.0)  # which are not used: the moments of the sample matter
    whole = jax.jacfwd(lambda x: network.apply(params, x))(jnp.zeros(4))
    np.testing.assert_allclose(whole, 0.3**depth * np.eye(4), atol=1e-6)
    for i in range(depth):
        layer = params["network"][f"dense_{i}"]
        np.testing.assert_allclose(layer @ layer.T, 0.09 * np.eye(4), atol=1e-6)


def test_options_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "wide.npz", x=np.concatenate([x, x], axis=2))
    base = cfg.Config(steps=2, data=cfg.Data(str(tmp_path / "x.npz"), noise=0.0, batch_size=4), encoder=VIT)
    masked = dataclasses.replace(base, recipe=cfg.Masked(predictor_width=12), objective=cfg.Objective("none"))
    cases = [
        (
            dataclasses.replace(base, encoder=dataclasses.replace(VIT, patch_size=(3, 4))),
            "not a multiple of patch size 3",
        ),
        (
            dataclasses.replace(masked, recipe=dataclasses.replace(masked.recipe, mask=cfg.Cross())),
            "rows and columns none",
        ),
        (
            dataclasses.replace(masked, recipe=dataclasses.replace(masked.recipe, target="gradient", scales=(9,))),
            "half-width 9",
        ),
        (
            dataclasses.replace(
                masked,
                encoder=dataclasses.replace(VIT, patch_size=(8, 8)),
                data=dataclasses.replace(base.data, source=str(tmp_path / "wide.npz")),
                recipe=dataclasses.replace(masked.recipe, target="products", mask=cfg.Cross(columns="runs")),
            ),
            "products has one number for any two of a patch, which has 64",
        ),
        (
            dataclasses.replace(
                masked, recipe=dataclasses.replace(masked.recipe, mask=cfg.Cross(columns="runs", column_gap=1))
            ),
            "leaves nothing of a run of",
        ),
        (
            dataclasses.replace(
                masked, recipe=dataclasses.replace(masked.recipe, mask=cfg.Cross(columns="subset", column_gap=1))
            ),
            "column_gap 1 is at the ends of runs",
        ),
        (
            dataclasses.replace(base, encoder=cfg.MLP(), recipe=cfg.Pair(target="tokens", predictor=(4,))),
            "tokens needs `encoder.kind` vit",
        ),
    ]
    for config, message in cases:
        with pytest.raises(ConfigError, match=message):
            jepa_jax.fit(config)
    with pytest.raises(ConfigError, match="direction forward"):
        cfg.Pair(target="sample", predictor=(4,))


DIGITS = cfg.Config(steps=2, data=cfg.Data("digits", batch_size=8), encoder=cfg.ViT(patch_size=4, width=12, depth=1))


@pytest.mark.parametrize(
    ("recipe", "objective", "message"),
    [
        (cfg.Masked(), cfg.Objective("barlow"), "barlow compares two views of a sample, and here there are 1"),
        (
            cfg.Multiview(),
            cfg.Objective("sigreg", distance="l1"),
            "distance` l1 is for .* pair and masked, not multiview",
        ),
        (cfg.Distill(), cfg.Objective("koleo", distance="cosine"), "distance` cosine is for"),
        (cfg.Multiview(), cfg.Objective("sigreg", anti_collapse_on="tokens"), "not vit and multiview"),
        (cfg.Masked(), cfg.Objective("uniformity", anti_collapse_on="tokens"), "uniformity acts on whole samples"),
        (cfg.Pair(), cfg.Objective("barlow", anti_collapse_on="tokens"), "barlow acts on whole samples"),
    ],
)
def test_an_objective_that_would_say_something_else_is_refused(recipe, objective, message: str) -> None:
    """None of these fails by itself: an index beyond the views is clamped, and an unused option is not read."""
    with pytest.raises(ConfigError, match=message):
        jepa_jax.fit(dataclasses.replace(DIGITS, recipe=recipe, objective=objective))


def test_two_views_are_enough_for_pairs() -> None:
    recipe = cfg.Masked(pair_weight=0.5, predictor_width=12, mask=cfg.Cross(rows="subset"))
    encoder = jepa_jax.fit(dataclasses.replace(DIGITS, recipe=recipe, objective=cfg.Objective("infonce")))
    assert encoder.base == "sphere"


def test_a_pair_of_masks_shares_no_patch(key: jax.Array) -> None:
    """Each patch of a sample is in one of its two embeddings, and the other does not depend on it."""
    options = cfg.Masked(pair_weight=1.0, pair_of="masks", predictor_width=12, mask=cfg.Windows(size=3, share=0.5))
    networks = {"encoder": build(VIT, (6, 12, 1), "sphere")}
    networks |= MASKED.networks(options, networks["encoder"], 8, False)
    loss = MASKED.loss(Setting(options, networks, Embed(networks, sphere=True), sphere=True))
    params = {name: network.init(key) for name, network in networks.items()}
    x = jax.random.normal(key, (20, 6, 12, 1))

    @jax.jit
    def embeddings(x: jax.Array) -> jax.Array:
        return loss(params, params, {}, Batch((x[None],), key, jnp.zeros(()))).embedding

    before, changed = embeddings(x), []
    for row, column in np.ndindex(3, 3):
        patch = np.s_[:, 2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        changed.append((embeddings(x.at[patch].add(1.0)) != before).any(axis=-1))
    assert before.shape == (2, 20, 8)
    np.testing.assert_allclose(jnp.linalg.norm(before, axis=-1), 1, rtol=1e-5)
    assert (np.sum(changed, axis=1) == 1).all()
    assert np.any(changed, axis=0).all()  # neither part is empty
    assert len(np.unique(np.asarray(changed)[:, 0], axis=1).T) > 5  # and samples have masks of their own


def test_a_pair_of_masks_is_read_as_a_mean() -> None:
    recipe = cfg.Masked(pair_weight=1.0, pair_of="masks")
    encoder = dataclasses.replace(DIGITS.encoder, readout="register")
    with pytest.raises(ConfigError, match=r"`recipe\.pair_of` masks .* not register"):
        jepa_jax.fit(dataclasses.replace(DIGITS, recipe=recipe, encoder=encoder))


def test_tokens_need_a_transformer() -> None:
    objective = cfg.Objective("sigreg", anti_collapse_on="tokens")
    with pytest.raises(ConfigError, match=r"tokens needs `encoder\.kind` vit .* not mlp and pair"):
        jepa_jax.fit(dataclasses.replace(DIGITS, encoder=cfg.MLP(), objective=objective))


def test_a_condition_has_a_direction(turned: Samples) -> None:
    config = cfg.Config(data=cfg.Data("turned"), recipe=cfg.Pair(predictor=(4,)))
    with pytest.raises(ConfigError, match=r"set `recipe\.direction` forward"):
        resolve(config, from_samples(turned, config.data))


def test_rows_that_are_held_out_by_name_take_precedence(turned: Samples) -> None:
    named = dataclasses.replace(turned, held_out=np.arange(2000) % 2 == 0)
    source = from_samples(named, cfg.Data("turned", holdout=0.1))
    assert len(source.arrays["x"]) == 1000
    assert source.notes == ("the data name the rows that are held out, so `data.holdout` has no effect",)
    assert not from_samples(named, cfg.Data("turned")).notes


def test_products_are_whitened_over_the_whole_batch_whatever_its_parts(key: jax.Array) -> None:
    views = [jax.random.normal(key, (1, 8, 4, 8, 1)) * jnp.linspace(0.1, 3, 8)[None, :, None, None, None]]
    found = []
    for accumulate in (1, 4):
        config = cfg.Config(
            data=cfg.Data("digits", batch_size=8),
            encoder=VIT,
            recipe=cfg.Masked(
                target="products", predictor_width=12, mask=cfg.Cross(columns="runs", column_share=(0.5, 0.5))
            ),
            objective=cfg.Objective("none"),
            optim=cfg.Optim(accumulate=accumulate),
        )
        networks = build_networks(config, (4, 8, 1))
        params = init_networks(networks, key)
        loss, _ = build_loss(config, networks)
        assert networks["predictor"].dim == 8 * 9 // 2
        errors = jax.jit(lambda p, loss=loss: loss(p, p, {}, Batch(views, key, jnp.asarray(0.0))).prediction)(params)
        found.append(np.asarray(errors))
    assert found[0].shape == (8,)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
