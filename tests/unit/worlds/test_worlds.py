"""Each world's density against its samples, its views and independent formulas."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from jepa_jax.worlds import WORLDS, World
from jepa_jax.worlds.world import log_normal, ornstein_uhlenbeck

# A square that holds all the mass (low, high), and how many cells a side resolve the density.
BOXES = {
    "mixture_2d": (-8.0, 8.0, 320),
    "moons": (-3.2, 3.2, 160),
    "rings": (-5.0, 5.0, 320),
    "checkerboard": (-3.0, 3.0, 240),
    "spiral": (-3.6, 3.6, 160),
    "banana": (-8.0, 24.0, 480),
    "coupling_2d": (-12.0, 12.0, 480),
}
LATENT = ("banana", "coupling_2d", "coupling_8d", "coupling_32d", "sprites")
PUSHFORWARD = LATENT[:-1]
SMOOTHED = ("mixture_2d", "moons", "rings", "checkerboard", "spiral")


def inside(function: Callable[..., Any], name: str) -> Any:
    """What a world's own function closes over: its parameters are not part of its interface."""
    return inspect.getclosurevars(inspect.unwrap(function)).nonlocals[name]


def draw(world: World, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    return jax.jit(world.sample, static_argnums=1)(key, count)


@cache
def cells(name: str) -> np.ndarray:
    """Probability of each cell of the world's box by the midpoint rule, [n, n]."""
    low, high, n = BOXES[name]
    side = low + (high - low) * (np.arange(n) + 0.5) / n
    points = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    logs = jax.jit(partial(jax.lax.map, WORLDS[name]().log_density, batch_size=4096))(points)
    return np.exp(np.asarray(logs, np.float64)).reshape(n, n) * ((high - low) / n) ** 2


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_builds(name: str, key: jax.Array) -> None:
    world = WORLDS[name]()

    def look(key: jax.Array) -> tuple[jax.Array, ...]:
        x, states = world.sample(key, 5)
        return x, *world.views(key, states[0]), jax.vmap(world.log_density)(states)

    x, one, two, logs = jax.jit(look)(key)
    assert world.name == name
    assert x.shape == (5, *world.shape)
    assert one.shape == two.shape == world.shape
    assert x.dtype == one.dtype == two.dtype == jnp.float32
    assert logs.shape == (5,)
    assert np.isfinite(logs).all()


def test_every_two_dimensional_world_is_tested() -> None:
    assert {name for name, make in WORLDS.items() if make().shape == (2,)} == set(BOXES)
    assert all((make().extent is not None) == (name in BOXES) for name, make in WORLDS.items())


@pytest.mark.parametrize("name", BOXES)
def test_density_integrates_to_one(name: str) -> None:
    assert cells(name).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", BOXES)
def test_samples_follow_the_density(name: str, key: jax.Array) -> None:
    low, high, n = BOXES[name]
    count, bins = 40_000, 40
    x = np.asarray(draw(WORLDS[name](), key, count)[0])
    expected = count * cells(name).reshape(bins, n // bins, bins, n // bins).sum((1, 3))
    observed = np.histogram2d(*x.T, bins=bins, range=[(low, high)] * 2)[0]
    some = expected > 8
    rest = observed[~some].sum() - expected[~some].sum()
    chi_square = ((observed - expected)[some] ** 2 / expected[some]).sum()
    assert stats.chi2.sf(chi_square, some.sum()) > 1e-4
    assert abs(rest) < 5 * np.sqrt(expected[~some].sum() + 1)


@pytest.mark.parametrize("name", BOXES)
def test_extent_holds_nearly_all_samples(name: str, key: jax.Array) -> None:
    world = WORLDS[name]()
    assert world.extent is not None
    low, high = world.extent
    x = draw(world, key, 5000)[0]
    assert jnp.mean(jnp.all((x > low) & (x < high), axis=1)) > 0.98


@pytest.mark.parametrize("dim", [2, 8, 32])
@pytest.mark.parametrize("blur", [None, 0.3])
def test_mixture_is_the_scipy_mixture_it_draws_from(dim: int, blur: float | None, key: jax.Array) -> None:
    world = WORLDS[f"mixture_{dim}d"](**({} if blur is None else {"noise": blur}))
    assert world.log_density_smoothed is not None
    centres, widths, logits = (
        np.asarray(inside(world.draw, n), np.float64) for n in ("centres", "widths", "log_weights")
    )
    x = np.asarray(draw(world, key, 50)[0])
    parts = [
        logit + stats.multivariate_normal.logpdf(x, centre, width**2 + (blur or 0) ** 2)
        for logit, centre, width in zip(logits - np.logaddexp.reduce(logits), centres, widths, strict=True)
    ]
    density = world.log_density if blur is None else world.log_density_smoothed
    np.testing.assert_allclose(jax.jit(jax.vmap(density))(x), np.logaddexp.reduce(parts), rtol=1e-5, atol=1e-4)
    assert np.allclose(np.linalg.norm(centres, axis=1), 3)
    assert widths.min() == pytest.approx(0.35)
    assert widths.max() == pytest.approx(0.9)
    assert np.ptp(logits) == pytest.approx(np.log(3), rel=1e-5)


@pytest.mark.parametrize("name", ["mixture_8d", "mixture_32d", "coupling_8d", "coupling_32d"])
def test_samples_satisfy_steins_identity(name: str, key: jax.Array) -> None:
    # E[x . grad log p(x)] = -D for samples of p: ties the sampler to the density where no grid can.
    world = WORLDS[name]()
    x = draw(world, key, 20_000)[0]
    terms = np.asarray(jnp.sum(x * jax.jit(jax.vmap(jax.grad(world.log_density)))(x), axis=1), np.float64)
    error = terms.std() / np.sqrt(len(terms))
    assert error < 0.02 * world.shape[0]
    assert abs(terms.mean() + world.shape[0]) < 5 * error


@pytest.mark.parametrize("name", PUSHFORWARD)
def test_pushforward_inverts_and_changes_variables(name: str, x64: None, key: jax.Array) -> None:
    world = WORLDS[name]()
    forward, inverse = inside(world.draw, "forward"), inside(world.log_density, "inverse")

    @jax.jit
    @jax.vmap
    def look(u: jax.Array) -> tuple[jax.Array, ...]:
        x = forward(u)
        return *inverse(x), jnp.linalg.slogdet(jax.jacfwd(forward)(u))[1], world.log_density(x)

    u = jax.random.normal(key, (20, *world.shape), jnp.float64)
    back, log_det, exact, log_density = map(np.asarray, look(u))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, u, atol=1e-9)
    np.testing.assert_allclose(log_det, -exact, atol=1e-6)  # the banana's constant is float32
    normal = stats.multivariate_normal.logpdf(np.asarray(u), np.zeros(u.shape[1]))
    np.testing.assert_allclose(log_density, normal - exact, atol=1e-6)


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothed_density_is_the_convolution(name: str, noise: float | None, x64: None, key: jax.Array) -> None:
    world = WORLDS[name](**({} if noise is None else {"noise": noise}))
    assert world.log_density_smoothed is not None
    # The trapezoid rule over +-6 standard deviations of the view noise.
    side = np.linspace(-6, 6, 61)
    e = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    weights = np.exp(-0.5 * (e**2).sum(1)) / (2 * np.pi) * (side[1] - side[0]) ** 2
    x = draw(world, key, 10)[0].astype(jnp.float64)

    @jax.jit
    def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logs = jax.lax.map(lambda x: jax.vmap(world.log_density)(x[None] + world.noise * e), x)
        return jnp.log(jnp.exp(logs) @ weights), jax.vmap(world.log_density_smoothed)(x)

    numeric, closed = both(x)
    np.testing.assert_allclose(closed, numeric, atol=2e-5)


def test_who_has_a_smoothed_density() -> None:
    with_it = {name for name, make in WORLDS.items() if make().log_density_smoothed is not None}
    assert with_it == {*SMOOTHED, "mixture_8d", "mixture_32d"}


@pytest.mark.parametrize("name", WORLDS)
def test_views_add_the_noise_they_state(name: str, key: jax.Array) -> None:
    noise = 0.3
    world = WORLDS[name](noise=noise, **({"rho": 0.5} if name in LATENT else {}))
    assert world.noise == noise
    x, states = draw(world, key, 20_000 // int(np.prod(world.shape)))
    one, two = jax.jit(jax.vmap(world.views))(jax.random.split(key, len(x)), states)
    first, second = np.asarray(one - x), np.asarray(two - x)
    if world.categories:  # another category is another sample
        numbers = np.array(world.categories) == 0
        assert not (first[:, ~numbers].any())
        assert not (second[:, ~numbers].any())
        first, second = first[:, numbers], second[:, numbers]
    assert first.std() == pytest.approx(noise, rel=0.03)
    assert abs(first.mean()) <= 0.01
    if name not in (*LATENT, "cartpole", "linear"):  # whose partners are other samples
        assert second.std() == pytest.approx(noise, rel=0.03)
        assert abs((first * second).mean()) < 0.05 * noise**2


@pytest.mark.parametrize(
    ("name", "rho"),
    [("banana", 0.0), ("banana", 0.95), ("coupling_2d", 0.7), ("coupling_8d", 0.95), ("coupling_32d", 0.7)],
)
def test_pairs_are_stationary_with_correlation_rho(name: str, rho: float, key: jax.Array) -> None:
    world = WORLDS[name](rho=rho)
    inverse = inside(world.log_density, "inverse")

    def look(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        draw_key, view_key = jax.random.split(key)
        pair = jnp.stack(world.views(view_key, world.draw(draw_key)))
        return jax.vmap(inverse)(pair)[0], jax.vmap(world.log_density)(pair)

    latents, logs = (np.asarray(a, np.float64) for a in jax.jit(jax.vmap(look))(jax.random.split(key, 8000)))
    u, v = latents[:, 0], latents[:, 1]
    cross = u.T @ v / len(u)
    np.testing.assert_allclose(cross, rho * np.eye(len(cross)), atol=0.06)
    np.testing.assert_allclose(v.T @ v / len(v), np.eye(len(cross)), atol=0.06)
    change = logs[:, 1] - logs[:, 0]
    assert abs(change.mean()) < 5 * change.std() / np.sqrt(len(change))


def test_ornstein_uhlenbeck_keeps_the_normal_law(key: jax.Array) -> None:
    u = jax.random.normal(key, (20_000,))
    v = np.asarray(ornstein_uhlenbeck(jax.random.fold_in(key, 1), u, 0.8))
    assert stats.kstest(v, "norm").pvalue > 1e-3
    assert np.corrcoef(u, v)[0, 1] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_sprite_pairs_correlate_by_rho(rho: float, key: jax.Array) -> None:
    # The log of an image's sum is 0.4 u2 + 0.3 u3 and a constant, and its centroid is 2.2 u0, while the blob is inside.
    world = WORLDS["sprites"](noise=0.0, rho=rho)
    across = jnp.arange(16, dtype=jnp.float32) - 7.5

    def features(image: jax.Array) -> jax.Array:
        mass = jnp.sum(image)
        return jnp.stack([jnp.sum(jnp.sum(image, (0, 2)) * across) / mass / 2.2, jnp.log(mass)])

    def look(key: jax.Array) -> jax.Array:
        draw_key, view_key = jax.random.split(key)
        return jax.vmap(features)(jnp.stack(world.views(view_key, 0.5 * world.draw(draw_key))))

    both = np.asarray(jax.jit(jax.vmap(look))(jax.random.split(key, 4000)), np.float64)
    # Of halved latents, v = rho u + sqrt(1 - rho^2) e has slope rho on u.
    for i in range(2):
        assert stats.linregress(both[:, 0, i], both[:, 1, i]).slope == pytest.approx(rho, abs=0.08)


def sprite(u: np.ndarray) -> np.ndarray:
    radius = 2.2 * np.exp(0.2 * u[2])
    rows, columns = np.mgrid[:16, :16] - 7.5
    square = (columns - 2.2 * u[0]) ** 2 + (rows - 2.2 * u[1]) ** 2
    return (np.exp(0.3 * u[3]) * np.exp(-0.5 * square / radius**2)).ravel()


def test_sprites_follow_the_area_formula(key: jax.Array) -> None:
    world = WORLDS["sprites"]()
    assert world.tangent is not None
    assert world.manifold_dim == 4
    x, states = draw(world, key, 8)
    logs, tangents = jax.jit(jax.vmap(lambda u: (world.log_density(u), world.tangent(u))))(states)
    for image, state, log_density, tangent in zip(x, states, logs, tangents, strict=True):
        u, tangent = np.asarray(state, np.float64), np.asarray(tangent, np.float64)
        j = np.stack([(sprite(u + h) - sprite(u - h)) / 2e-5 for h in 1e-5 * np.eye(4)], 1)
        exact = stats.multivariate_normal.logpdf(u, np.zeros(4)) - 0.5 * np.linalg.slogdet(j.T @ j)[1]
        np.testing.assert_allclose(image.ravel(), sprite(u), atol=1e-5)
        assert float(log_density) == pytest.approx(exact, abs=1e-4)
        np.testing.assert_allclose(tangent.T @ tangent, np.eye(4), atol=1e-5)
        np.testing.assert_allclose(tangent @ (tangent.T @ j), j, atol=1e-4)


@pytest.mark.parametrize("name", ["moons", "spiral"])
def test_curve_quadrature_is_exact_to_rounding(name: str, x64: None, key: jax.Array) -> None:
    world = WORLDS[name]()
    curve = inside(world.draw, "curve")
    x = np.asarray(draw(world, key, 200)[0], np.float64)
    # The midpoint rule at so many nodes that its h^2 is gone.
    centres = np.asarray(jax.jit(jax.vmap(curve))((jnp.arange(2**16) + 0.5) / 2**16))
    square = (x**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * x @ centres.T
    exact = logsumexp(-0.5 * square / 0.15**2, axis=1) - np.log(2 * np.pi * 0.15**2 * len(centres))
    np.testing.assert_allclose(jax.jit(jax.vmap(world.log_density))(x), exact, atol=1e-5)  # ten float32 roundings


@pytest.mark.parametrize("variance", [1.0, 0.04])
def test_log_normal(variance: float, key: jax.Array) -> None:
    x = jax.random.normal(key, (5,))
    exact = stats.multivariate_normal.logpdf(np.asarray(x), np.zeros(5), variance)
    assert float(log_normal(x, variance)) == pytest.approx(exact, rel=1e-5)


def test_a_world_without_latents_has_no_rho() -> None:
    with pytest.raises(TypeError):
        WORLDS["moons"](rho=0.5)
    assert isinstance(WORLDS["banana"](rho=0.5), World)


def test_a_batch_of_states_is_refused_and_a_seed_is_a_key() -> None:
    world = WORLDS["mixture_2d"]()
    xs, _ = world.sample(3, 5)
    np.testing.assert_array_equal(xs, world.sample(jax.random.key(3), 5)[0])
    with pytest.raises(ValueError, match=r"one state of shape \[2\], not \[5, 2\]; for a batch, jax.vmap"):
        world.log_density(xs)
