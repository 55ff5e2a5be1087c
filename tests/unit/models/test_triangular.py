"""The triangular map: exact volumes, no folds, finite tails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from scipy import stats

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.density import base_log_density
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build
from jepa_jax.models.components import KERNELS, box
from jepa_jax.models.trained import as_encoder, weighted
from jepa_jax.models.triangular import normal_quantile

OUTPUTS = {"cube": "cube", "torus": "torus", "gaussian": "normal"}


def perturbed(model: Model, key: jax.Array, *start, amount: float = 0.3):
    """Weights of a network that was trained: none is zero, so that every dependence shows."""
    params = model.init(key, *start)
    leaves, tree = jax.tree.flatten(params["network"])
    keys = jax.random.split(key, len(leaves))
    moved = [a + amount * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=True)]
    network = jax.tree.unflatten(tree, moved)
    return params | {"network": network | fixed(params["network"])}


def fixed(network: dict) -> dict:
    """What training does not change: the order, and the rotation, orthogonal in the precision of the test."""
    kept = {"order": network["order"]}
    if "rotation" in network:
        kept["rotation"] = jnp.linalg.qr(network["rotation"].astype(jnp.zeros(()).dtype))[0]
    return kept


def model_of(size: int, output: str = "cube", **options) -> Model:
    encoder = cfg.Triangular(widths=(16, 16), components=options.pop("components", 3), dim=size, **options)
    return build(encoder, (size,), output)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("size", "order"), [(1, "identity"), (2, "reversed"), (5, "permuted"), (4, "rotated")])
def test_volume_is_that_of_the_dense_jacobian(
    size: int, order: str, output: str, kernel: str, key: jax.Array, x64
) -> None:
    model = model_of(size, output, order=order, kernel=kernel)
    params = perturbed(model, key, jnp.arange(size) * 2.0, 0.5 + jnp.arange(size))
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    spread = 1 if kernel == "box" else 2  # beyond its edge, which is sharp, a box has no mass that an SVD can see
    xs = jnp.asarray(spread * np.random.default_rng(0).standard_normal((4, size)) + np.arange(size))

    @jax.jit
    @jax.vmap
    def derived(x: jax.Array) -> tuple[jax.Array, ...]:
        of_x = lambda x: model.apply(params, x)  # noqa: E731
        return jax.jacfwd(of_x)(x), jax.jacrev(of_x)(x), model.log_volume(params, x)

    forward, reverse, volume = (np.asarray(found) for found in derived(xs))
    sigma = np.linalg.svd(forward, compute_uv=False)
    np.testing.assert_allclose(np.log(sigma).sum(1), volume, atol=1e-10)
    np.testing.assert_allclose(reverse, forward, atol=1e-12)


@pytest.mark.parametrize("order", ["identity", "reversed", "permuted"])
def test_jacobian_is_triangular_in_its_order(order: str, key: jax.Array) -> None:
    model = model_of(4, order=order)
    params = perturbed(model, key)
    places = np.asarray(params["network"]["order"]).astype(int)
    assert sorted(places) == [0, 1, 2, 3]
    assert {"identity": list(places) == [0, 1, 2, 3], "reversed": list(places) == [3, 2, 1, 0]}.get(order, True)
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda x: model.apply(params, x)))(jnp.ones(4)))[:, places]
    assert (np.triu(jacobian, 1) == 0).all()
    assert (np.abs(np.tril(jacobian)) > 0)[np.tril_indices(4)].all()  # and each depends on all before it


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_density_integrates_to_one(output: str, kernel: str, key: jax.Array, x64) -> None:
    model = model_of(2, output, kernel=kernel)
    params = perturbed(model, key, amount=0.1)
    side = jnp.linspace(-12, 12, 801)
    grid = jnp.stack(jnp.meshgrid(side, side), -1).reshape(-1, 2)

    def log_density(x: jax.Array) -> jax.Array:
        base = base_log_density(model.apply(params, x), OUTPUTS[output])
        assert base is not None
        return base + model.log_volume(params, x)

    mass = jnp.exp(jax.lax.map(log_density, grid, batch_size=4096)).sum() * (side[1] - side[0]) ** 2
    assert abs(float(mass) - 1) < 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_far_samples_have_finite_values_and_derivatives(output: str, kernel: str, key: jax.Array) -> None:
    model = model_of(3, output, kernel=kernel)
    params = perturbed(model, key, amount=0.1)
    xs = jnp.full((4, 3), jnp.asarray([12.0, -12.0, 100.0, -1000.0])[:, None])
    for f in (model.apply, model.log_volume):
        derived = jax.jit(jax.vmap(jax.value_and_grad(lambda p, x, f=f: jnp.sum(f(p, x)), (0, 1)), (None, 0)))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(derived(params, xs)))


def test_normal_quantile_inverts_both_tails(x64) -> None:
    z = jnp.linspace(-40.0, 40.0, 401)
    found = normal_quantile(norm.logcdf(z), norm.logsf(z))
    np.testing.assert_allclose(found, z, atol=1e-12, rtol=1e-12)
    slope = jax.vmap(jax.grad(lambda z: normal_quantile(norm.logcdf(z), norm.logsf(z))))(z)
    np.testing.assert_allclose(slope, 1.0, rtol=1e-9)


BOX = jax.jit(box)
NODES = np.polynomial.legendre.leggauss(4000)
BOX_SLOPES = jax.jit(jax.vmap(jax.grad(lambda *at: box(*at).log_cdf, (0, 1, 2))))


@pytest.mark.parametrize("log_edge", [-6.0, -2.0, 0.0, 2.0])
def test_a_box_is_a_uniform_distribution_convolved_with_a_normal_one(log_edge: float, x64) -> None:
    """Against quadrature over the box, and the derivatives of the distribution function against differences."""
    edge = np.exp(log_edge)
    off = np.concatenate([np.linspace(-1, 1, 9), *(side * (1 + edge * np.array([0.5, 2, 6])) for side in (1, -1))])
    nodes, weights = NODES
    t = (off[:, None] - nodes) / edge
    found = BOX(jnp.asarray(off), jnp.zeros(len(off)), jnp.full(len(off), log_edge))
    np.testing.assert_allclose(np.exp(found.log_pdf), stats.norm.pdf(t) @ weights / (2 * edge), rtol=1e-6)
    np.testing.assert_allclose(np.exp(found.log_cdf), stats.norm.cdf(t) @ weights / 2, rtol=1e-5)
    np.testing.assert_allclose(np.exp(found.log_survival), stats.norm.cdf(-t) @ weights / 2, rtol=1e-5)
    here = [jnp.asarray(off), jnp.full(len(off), 0.1), jnp.full(len(off), min(log_edge, 1.9) + 0.05)]
    for i, slope in enumerate(BOX_SLOPES(*here)):
        up, down = (BOX(*(a + side * 1e-6 * (j == i) for j, a in enumerate(here))).log_cdf for side in (1, -1))
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_components_start_at_the_quantiles_of_the_data(kernel: str, key: jax.Array) -> None:
    """Before training, the map already is the distribution function of each column."""
    x = np.exp(np.random.default_rng(0).standard_normal((5000, 2))).astype(np.float32)
    levels = (np.arange(64) + 0.5) / 64
    quantiles = jnp.asarray(np.quantile(x, levels, axis=0), jnp.float32)
    model = model_of(2, components=32, kernel=kernel)
    u = jax.vmap(model.apply, (None, 0))(model.init(key, x.mean(0), x.std(0), quantiles), x)
    rank = x.argsort(0).argsort(0) / len(x)
    assert np.abs(u - rank).max() < 0.05


@pytest.mark.parametrize("output", ["cube", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_training_with_the_entropy_reaches_the_density(output: str) -> None:
    config = cfg.Config(
        steps=300,
        data=cfg.Data("mixture_2d", batch_size=256, noise=0.02),
        encoder=cfg.Triangular(widths=(32, 32), output=output),  # type: ignore[arg-type]
        objective=cfg.Objective("entropy"),
        optim=cfg.Optim(lr=5e-3, warmup_steps=20, clip_norm=5.0),
    )
    encoder = jepa_jax.fit(config)
    world = jepa_jax.WORLDS["mixture_2d"]()
    x, states = world.sample(jax.random.key(5), 1000)
    truth = np.asarray(jax.vmap(world.log_density)(states))
    base = base_log_density(jax.vmap(encoder)(x), encoder.base)
    assert base is not None
    learned = np.asarray(base + jax.vmap(encoder.log_volume)(x))
    assert np.corrcoef(learned, truth)[0, 1] > 0.97
    assert 0 < (truth - learned).mean() < 0.06  # a divergence, in nats: the learned density is normalised
    score = np.asarray(jepa_jax.score_samples(encoder, x))
    if output != "gaussian":  # the singular values, without a closed form; the paper's score is a log-density
        np.testing.assert_allclose(score + np.asarray(base), learned, atol=0.01)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder": cfg.MLP()}, "a fold is credited with entropy that is not there; use `encoder.kind` triangular"),
        ({"encoder": cfg.Triangular(dim=5)}, "`encoder.dim` is 5, but that of a triangular map is 2"),
        (
            {"encoder": cfg.Triangular(output="cube"), "objective": cfg.Objective("infonce")},
            "infonce acts on the sphere; use `encoder.output` torus",
        ),
        (
            {"encoder": cfg.Triangular(widths=(64, 6)), "data": cfg.Data("mixture_8d")},
            "too narrow for 8 coordinates, each of which depends on all before it; use at least 7",
        ),
        ({"optim": cfg.Optim(compute="bfloat16")}, "needs `optim.compute` float32"),
        ({"recipe": cfg.Pair(projector=(8,))}, "entropy acts on the embedding; leave out `recipe.projector`"),
    ],
)
def test_what_does_not_fit_is_one_line(changes: dict, says: str) -> None:
    base = {"encoder": cfg.Triangular(), "objective": cfg.Objective("entropy"), "steps": 1}
    with pytest.raises(ConfigError, match=says):
        jepa_jax.fit(cfg.Config(**(base | changes)))


def test_other_encoders_have_no_volume() -> None:
    encoder = jepa_jax.fit(cfg.Config(steps=1, data=cfg.Data("moons", 8), encoder=cfg.MLP(widths=(4,))))
    with pytest.raises(ValueError, match="may fold"):
        encoder.log_volume(jnp.zeros(2))


def test_the_density_of_a_mixture_of_members(key: jax.Array) -> None:
    """Members have orders of their own, the mixture integrates to 1, and a second encoder compiles nothing anew."""
    model = model_of(2, members=3)
    params = perturbed_members(model, key)
    orders = [np.asarray(params["network"][f"member_{i}"]["order"]).tolist() for i in range(3)]
    assert orders[:2] == [[0, 1], [1, 0]]
    side = jnp.linspace(-12, 12, 481)
    grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
    encoder = weighted(as_encoder(model, params, (2,), "cube", 1.0), [0.2, 0.5, 0.3])
    logs = jax.jit(lambda e, xs: jax.lax.map(e.member_log_densities, xs, batch_size=4096))(encoder, grid)
    cell = (side[1] - side[0]) ** 2
    np.testing.assert_allclose(jnp.exp(logs).sum(0) * cell, 1, atol=1e-3)
    assert float(jnp.abs(logs[:, 0] - logs[:, 1]).max()) > 0.01
    x = grid[100_123]
    expected = jnp.log(jnp.exp(encoder.member_log_densities(x)) @ jnp.asarray([0.2, 0.5, 0.3]))
    assert float(encoder.log_density(x)) == pytest.approx(float(expected), abs=1e-5)
    assert float(encoder.log_volume(x)) == pytest.approx(float(encoder.member_log_densities(x)[1]), abs=1e-5)
    one, two = (as_encoder(model, params, (2,), "cube", 1.0) for _ in range(2))
    assert jax.tree.structure(one) == jax.tree.structure(two)


def perturbed_members(model: Model, key: jax.Array):
    """Weights of members that were trained a little."""
    params = model.init(key)
    network = {
        name: jax.tree.map(lambda a: a + 0.1 * jax.random.normal(key, a.shape, a.dtype), of) | fixed(of)
        for name, of in params["network"].items()
    }
    return params | {"network": network}


@pytest.mark.parametrize("order", ["identity", "reversed", "permuted", "rotated"])
def test_inverse_undoes_the_map_to_the_cube(order: str, key: jax.Array, x64) -> None:
    model = model_of(4, order=order)
    params = perturbed(model, key, 2.0 * jnp.arange(4), 0.5 + jnp.arange(4))
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    assert model.inverse is not None
    u = jax.random.uniform(key, (20, 4)).at[0].set(1e-9).at[1].set(1 - 1e-9)  # and both tails
    back = jax.jit(jax.vmap(lambda u: model.apply(params, model.inverse(params, u))))(u)
    np.testing.assert_allclose(back, u, rtol=1e-4, atol=1e-13)
    np.testing.assert_allclose(1 - back, 1 - u, rtol=1e-4, atol=1e-13)


def test_samples_follow_the_density(key: jax.Array) -> None:
    """Importance sampling with them has the volume of a box: the mean of 1 / p over the samples in it."""
    model = model_of(2, members=3)
    encoder = weighted(as_encoder(model, perturbed_members(model, key), (2,), "cube", 1.0), [0.2, 0.5, 0.3])
    xs = jax.jit(encoder.sample, static_argnums=1)(key, 10_000)
    assert xs.shape == (10_000, 2)
    logs = jax.jit(lambda e, xs: jax.vmap(e.log_density)(xs))(encoder, xs)
    inside = np.abs(np.asarray(xs)).max(axis=1) < 1
    assert np.exp(-logs)[inside].sum() / len(xs) == pytest.approx(4.0, rel=0.1)


def test_an_encoder_that_may_fold_draws_no_samples() -> None:
    encoder = jepa_jax.fit(cfg.Config(steps=1, data=cfg.Data("moons", 8), encoder=cfg.MLP(widths=(4,), dim=2)))
    with pytest.raises(ValueError, match="may fold and has no inverse"):
        encoder.sample(jax.random.key(0), 3)
