"""The recipes: what each predicts, that it learns, stops and goes on, and which weights are its result."""

import dataclasses
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.data import open_source
from jepa_jax.errors import ConfigError
from jepa_jax.recipes import Batch, build_loss, build_networks, init_networks, weights_path
from jepa_jax.resolve import resolve
from jepa_jax.training.step import make_trainer, teacher_decay
from train.log import read_rows
from train.loop import train

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
VIT = cfg.ViT(patch_size=2, width=12, depth=1, heads=2, dim=6)
MLP = cfg.MLP(widths=(16,), dim=6)
CROPS = cfg.Crops(local_views=1)
CURRICULUM = cfg.Curriculum(early=cfg.Blocks(targets=1), late=cfg.Cross(rows="runs", columns="subset"))
RECIPES = {
    "multiview": (MLP, CROPS, cfg.Multiview(), cfg.Objective("sigreg", weight=0.1, num_slices=8)),
    "projected": (MLP, CROPS, cfg.Multiview(projector=(16, 8)), cfg.Objective("vicreg", weight=0.1)),
    "masked": (
        VIT,
        cfg.Noise(),
        cfg.Masked(ema=0.9, ema_end=1.0, mask=cfg.Blocks(targets=1), predictor_width=12),
        cfg.Objective("none"),
    ),
    "distill": (MLP, CROPS, cfg.Distill(ema=0.9, prototypes=8), cfg.Objective("koleo", weight=0.1)),
    "centred": (VIT, CROPS, cfg.Distill(ema=0.9, prototypes=8, targets="centring"), cfg.Objective("none")),
    "curriculum": (
        dataclasses.replace(VIT, registers=1, row_positions="learned", column_positions="none"),
        cfg.Noise(),
        cfg.Masked(ema=0.9, predictor_width=12, predictor_depth=1, pair_weight=0.1, mask=CURRICULUM),
        cfg.Objective("sigreg", weight=0.1, num_slices=8, distance="smooth_l1", anti_collapse_on="tokens"),
    ),
    "gradient": (
        VIT,
        cfg.Noise(),
        cfg.Masked(predictor_width=12, masks=2, target="gradient", scales=(1, 2), mask=cfg.Windows(size=3)),
        cfg.Objective("none", distance="l1"),
    ),
    "stem": (
        VIT,
        cfg.Noise(),
        cfg.Pair(ema=0.9, predictor=(16,), target="tokens", direction="forward"),
        cfg.Objective("none", distance="cosine"),
    ),
    "vicreg": (MLP, cfg.Crops(), cfg.Pair(projector=(8,)), cfg.Objective("vicreg", weight=0.1)),
}


def small(name: str, **changes) -> Config:
    encoder, views, recipe, objective = RECIPES[name]
    config = Config(
        steps=20,
        data=cfg.Data(source="digits", batch_size=24, holdout=0.9),
        views=views,
        encoder=encoder,
        recipe=recipe,
        objective=objective,
        optim=cfg.Optim(lr=3e-3, warmup_steps=2),
        monitor=cfg.Monitor(every=0, probes=32, log_every=10, figures=False),
        checkpoint=cfg.Checkpoints(every=10),
    )
    return dataclasses.replace(config, **changes)


def pieces(config: Config):
    source = open_source(config.data)
    config = resolve(config, source)
    return config, source, make_trainer(config, source)


# The target `gradient` has tests of its own, and everything else of `masked` is in `curriculum`.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("gradient", "masked"))) for n in RECIPES]
)
def test_it_learns_and_its_result_loads(name: str, tmp_path: Path) -> None:
    train(small(name), tmp_path, QUIET)
    rows = read_rows(tmp_path / "metrics.jsonl")
    # A centred teacher sharpens while it is followed, so there the bound is that of a student that knows nothing.
    bound = np.log(8) if name == "centred" else rows[0]["prediction"]
    assert rows[-1]["prediction"] < bound
    assert rows[-1]["grad_norm"] > 0
    assert rows[-1].get("mask/late_share") == (1.0 if name == "curriculum" else None)
    assert 0 <= rows[-1]["probe/linear"] <= 1
    encoder = jepa_jax.load(tmp_path)
    x = jnp.asarray(open_source(cfg.Data(source="digits")).arrays["x"][0])
    assert encoder(x).shape == (encoder.dim,)
    assert np.isfinite(jepa_jax.jepa_score(encoder, x))
    raw = jepa_jax.load(tmp_path, weights="raw")
    averaged = weights_path(small(name)) != ("params", "encoder")
    assert np.allclose(raw(x), encoder(x)) == (not averaged)
    if not small(name).recipe.ema:
        with pytest.raises(ConfigError, match="no moving average"):
            jepa_jax.load(tmp_path, weights="ema")


@pytest.mark.parametrize("name", ["masked", "centred", "curriculum"])
def test_a_run_cut_in_two_is_the_same_run(name: str) -> None:
    _, source, trainer = pieces(small(name))
    whole, _ = trainer.run(trainer.init(), source.arrays, 0, 6)
    half, _ = trainer.run(trainer.init(), source.arrays, 0, 3)
    half, _ = trainer.run(half, source.arrays, 3, 6)
    jax.tree.map(np.testing.assert_array_equal, whole, half)


def test_masked_prediction_does_not_see_what_it_predicts(key: jax.Array) -> None:
    """Changing pixels of a hidden patch changes the target and nothing of the context's embedding."""
    config, source, _ = pieces(small("masked"))
    parts = build_networks(config, source.shape)
    params = init_networks(parts, key)
    assert parts["encoder"].tokens is not None
    tokens = jax.jit(parts["encoder"].tokens)
    x = jax.random.normal(key, source.shape)
    changed = x.at[:2, :2].add(1.0)  # patch 0
    at, valid = jnp.array([5, 6, 9, 0]), jnp.array([True, True, True, False])
    seen, after = (tokens(params["encoder"], image, at, valid)[:3] for image in (x, changed))
    np.testing.assert_allclose(seen, after, atol=1e-6)  # the padding points at patch 0 and must not be seen
    whole, other = (tokens(params["encoder"], image) for image in (x, changed))
    assert np.abs(whole - other).max() > 1e-2


def test_tokens_of_all_patches_are_the_whole(key: jax.Array) -> None:
    config, source, _ = pieces(small("masked"))
    encoder = build_networks(config, source.shape)["encoder"]
    params = encoder.init(key)
    x = jax.random.normal(key, source.shape)
    assert encoder.tokens is not None
    tokens = jax.jit(encoder.tokens)
    every = tokens(params, x, jnp.arange(16), jnp.ones(16, bool))
    np.testing.assert_allclose(every, tokens(params, x), atol=1e-5)
    np.testing.assert_allclose(jnp.mean(every, axis=0), encoder.apply(params, x), atol=1e-5)


def test_multiview_prediction_is_the_distance_from_the_large_views_mean(key: jax.Array) -> None:
    config, source, _ = pieces(small("multiview"))
    parts = build_networks(config, source.shape)
    params = init_networks(parts, key)
    views = tuple(jax.random.normal(key, (n, 4, *source.shape)) for n in (2, 1))
    loss, _ = build_loss(config, parts)
    outcome = jax.jit(lambda p: loss(p, p, {}, Batch(views, key, jnp.asarray(0.0))))(params)
    apply = jax.jit(jax.vmap(jax.vmap(parts["encoder"].apply, (None, 0)), (None, 0)))
    z = np.asarray(apply(params["encoder"], jnp.concatenate(views)))
    np.testing.assert_allclose(outcome.prediction, ((z - z[:2].mean(0)) ** 2).sum(-1), rtol=1e-4, atol=1e-5)


def test_targets_get_no_gradient(key: jax.Array) -> None:
    for name in ("masked", "distill"):
        config, source, _ = pieces(small(name))
        parts = build_networks(config, source.shape)
        params, target = init_networks(parts, key), init_networks(parts, jax.random.key(1))
        views = tuple(jax.random.uniform(key, (n, 4, *source.shape)) for n in (2, 1))
        loss, _ = build_loss(config, parts)

        def error(target, params=params, loss=loss, views=views):
            return jnp.mean(loss(params, target, {}, Batch(views, key, jnp.asarray(0.0))).prediction)

        grad = jax.jit(jax.grad(error))(target)
        assert all((g == 0).all() for g in jax.tree.leaves(grad))


def test_the_decay_rises_linearly() -> None:
    config = small("masked")
    assert float(teacher_decay(config, jnp.asarray(0.0))) == pytest.approx(0.9)
    assert float(teacher_decay(config, jnp.asarray(10.0))) == pytest.approx(0.95)
    assert float(teacher_decay(config, jnp.asarray(20.0))) == pytest.approx(1.0)


def test_which_weights_are_the_result() -> None:
    masked, multiview = small("masked"), small("multiview")
    assert weights_path(masked) == ("teacher", "encoder")
    assert weights_path(masked, "raw") == ("params", "encoder")
    averaged = dataclasses.replace(multiview, optim=cfg.Optim(ema=0.9))
    assert weights_path(averaged) == ("ema",)
    assert weights_path(multiview) == ("params", "encoder")
    shared = dataclasses.replace(multiview, recipe=cfg.Multiview(ema=0.9))
    assert weights_path(shared) == ("params", "encoder")  # a target that only steadies training
    assert weights_path(shared, "ema") == ("teacher", "encoder")


def changed(name: str, **changes) -> Config:
    """A small config with other sections, or with other fields in them."""
    config = small(name)
    for path, value in changes.items():
        section, _, field = path.partition("__")
        if field:
            value = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: value})
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed("masked", encoder=MLP), "needs `encoder.kind` vit"),
        (changed("masked", recipe__predictor_width=10), "`recipe.predictor_width` 10"),
        (changed("masked", encoder__patch_size=8), "`recipe.mask`"),
        (changed("masked", views=cfg.Crops()), "masked takes one view"),
        (changed("vicreg", views__local_views=2), "pair compares two views, not 4"),
        (changed("multiview", views__global_scale=(0.5, 0.2)), "a view cannot have scale"),
        (changed("multiview", data__source="mixture_2d", data__holdout=0.0), "crops needs square images"),
    ],
)
def test_what_does_not_go_together(config: Config, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pieces(config)
