"""Worlds of the related systems: exact densities against quadrature, closed forms and float64; classes; control."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import gamma, multivariate_normal
from sklearn.linear_model import LogisticRegression

from jepa_jax.worlds import WORLDS, World, beats, cartpole, linear, processes, speckle, table


def drawn(world: World, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, states = jax.jit(world.sample, static_argnums=1)(jax.random.key(0), count)
    return np.asarray(x), np.asarray(states), np.asarray(jax.jit(jax.vmap(world.log_density))(states))


def test_a_small_process_has_its_joint_gaussian() -> None:
    world = processes.make(rows=2, times=3, count=2)
    x, _, found = drawn(world, 50)
    a, noise, start = processes.regimes(2, 2)
    logs = []
    for k in range(2):
        blocks = [[start[k] @ np.linalg.matrix_power(a[k].T, t - s) for t in range(s, 3)] for s in range(3)]
        whole = np.block(
            [[blocks[min(s, t)][abs(t - s)] if s <= t else blocks[t][s - t].T for t in range(3)] for s in range(3)]
        )
        assert np.allclose(whole, whole.T)
        assert np.allclose(a[k] @ start[k] @ a[k].T + noise[k], start[k])
        flat = x[:, :, :, 0].transpose(0, 2, 1).reshape(len(x), -1)
        logs.append(multivariate_normal(np.zeros(6), whole).logpdf(flat))
    np.testing.assert_allclose(found, logsumexp(logs, axis=0) - np.log(2), atol=2e-4)


def test_one_look_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator of exponential variables returns zero once in eight million numbers."""
    monkeypatch.setattr(jax.random, "exponential", lambda key, shape, dtype: jnp.zeros(shape, dtype))
    world = speckle.make_one_look()
    x, states = world.sample(jax.random.key(0), 2)
    assert np.isfinite(x).all()
    assert np.isfinite(jax.vmap(world.log_density)(states)).all()


def test_speckle_is_a_product_of_gammas() -> None:
    for looks, contrast in ((1, 8.0), (4, 3.0)):
        x, _, found = drawn(speckle.make(looks=looks, contrast=contrast), 5)
        means = speckle.templates(contrast).reshape(1, 150, 256)
        intensity = np.exp(x.reshape(5, 1, 256).astype(np.float64))
        each = gamma.logpdf(intensity, looks, scale=means / looks).sum(-1) + np.log(intensity).sum(-1)
        np.testing.assert_allclose(found, logsumexp(each, axis=1) - np.log(150), rtol=1e-5)


def test_rows_of_a_table_have_all_probability() -> None:
    """E[q / p] = 1 for a narrow density q of the numbers beside some categories, wherever these lie."""
    world = WORLDS["table"]()
    x, states, found = drawn(world, 20_000)
    log_weight, means, roots = table._parameters()
    assert np.exp(log_weight).sum() == pytest.approx(1, abs=1e-6)
    for one, two in np.ndindex(table.CATEGORIES):
        kind = log_weight[:, one, two].argmax()
        root = roots[kind, one, two].astype(np.float64)
        q = multivariate_normal(means[kind, one, two], 0.5 * root @ root.T).logpdf(x[:, 2:])
        here = (x[:, 0] == one) & (x[:, 1] == two)
        ratio = here * np.exp(q - found)
        assert ratio.mean() == pytest.approx(1, abs=4 * ratio.std() / len(ratio) ** 0.5)
    assert (states[:, 1:] == x).all()
    assert world.tangent is not None
    basis = np.asarray(world.tangent(states[0]))
    np.testing.assert_array_equal(basis.T @ basis, np.eye(6))
    one, two = jax.jit(world.views)(jax.random.key(1), states[0])
    assert (np.asarray(one - two)[:2] == 0).all()
    assert (np.asarray(one - two)[2:] != 0).all()


@pytest.mark.parametrize(
    ("make", "latents", "render"),
    [
        (beats.make, 6, lambda u, state: beats.signal(u, state[0])),
        (cartpole.make, 4, lambda u, state: cartpole.observe(u)),
    ],
    ids=["beats", "cartpole"],
)
def test_manifolds_have_the_density_of_the_area_formula(make: Callable[..., World], latents: int, render: Any) -> None:
    world = make()
    _, states, found = drawn(world, 4)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for state, value in zip(states.astype(np.float64), found, strict=True):
            u = state[1:] if latents == 6 else state[:4]
            step, columns = 1e-5, []
            for i in range(latents):
                e = np.eye(latents)[i] * step
                columns.append(np.asarray(render(u + e, state) - render(u - e, state)).ravel() / (2 * step))
            size = 0.5 * np.linalg.slogdet(np.stack(columns) @ np.stack(columns).T)[1]
            law = multivariate_normal(np.zeros(latents), np.eye(6) if latents == 6 else cartpole.gains()[1])
            expected = law.logpdf(u) - size - (np.log(4) if latents == 6 else 0)
            assert float(value) == pytest.approx(expected, abs=2e-3)


def test_linear_pairs_have_the_stated_moments() -> None:
    world = WORLDS["linear"]()
    x, states, found = drawn(world, 40_000)
    keys = jax.random.split(jax.random.key(1), len(states))
    _, y = jax.jit(jax.vmap(world.views))(keys, states)
    variance = linear.COVARIANCES / linear.COEFFICIENTS
    np.testing.assert_allclose((x.T @ x) / len(x), np.diag(variance), atol=0.04)
    np.testing.assert_allclose((y.T @ x) / len(x), np.diag(linear.COVARIANCES), atol=0.04)
    np.testing.assert_allclose((y.T @ y) / len(x), np.diag(variance), atol=0.04)
    np.testing.assert_allclose(
        found, multivariate_normal(np.zeros(8), np.diag(variance)).logpdf(x), rtol=1e-4, atol=1e-4
    )


def test_a_transition_is_its_noise() -> None:
    world = WORLDS["cartpole"]()
    _, states, _ = drawn(world, 4000)
    found = jax.jit(jax.vmap(cartpole.log_transition))(states)
    entropy = 4 * 0.5 * np.log(2 * np.pi * np.e) + np.log(cartpole.DEVIATIONS).sum()
    assert float(-found.mean()) == pytest.approx(entropy, abs=0.06)


@pytest.mark.parametrize(
    ("name", "bayes", "raw"), [("processes", 0.9, 0.3), ("speckle", 0.99, 0.55), ("table", 0.8, 0.7)]
)
def test_classes_are_in_the_density_and_hard_for_a_line(name: str, bayes: float, raw: float) -> None:
    """The class of the largest joint density is right; a linear probe on the numbers is far below it."""
    world = WORLDS[name]()
    x, states, _ = drawn(world, 1500)
    assert world.label is not None
    label = np.asarray(jax.vmap(world.label)(states))
    assert set(label) == set(range(label.max() + 1))
    flat = x.reshape(len(x), -1)
    line = LogisticRegression(max_iter=200).fit(flat[:1000], label[:1000]).score(flat[1000:], label[1000:])
    assert line < raw
    assert bayes_accuracy(name, x, label) > bayes


def bayes_accuracy(name: str, x: np.ndarray, label: np.ndarray) -> float:
    """Accuracy of the class with the largest joint density, from the parts of which the worlds are made, in NumPy."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    if name == "speckle":
        log_mean = np.log(speckle.templates(3.0)).reshape(150, 256)
        logs = np.stack([4 * (flat - m - np.exp(flat - m)).sum(1) for m in log_mean], 1)
        return (logsumexp(logs.reshape(-1, 6, 25), axis=2).argmax(1) == label).mean()
    if name == "processes":
        a, noise, start = processes.regimes(8, 4)
        series, logs = x[..., 0].astype(np.float64), []
        for k in range(4):
            off = series[:, :, 1:] - a[k] @ series[:, :, :-1]
            steps = multivariate_normal(np.zeros(8), noise[k]).logpdf(off.transpose(0, 2, 1)).sum(1)
            logs.append(steps + multivariate_normal(np.zeros(8), start[k]).logpdf(series[:, :, 0]))
        return (np.argmax(logs, 0) == label).mean()
    log_joint = jax.jit(jax.vmap(table.log_joint))(jnp.asarray(x))
    return (np.asarray(log_joint).argmax(1) == label).mean()


def upright(plan: Callable[[Any, Any], Any], every: int, runs: int = 60, steps: int = 500) -> float:
    """Share of runs that stay upright if only each `every`-th state is sent."""

    def one(key: jax.Array) -> jax.Array:
        def tick(carry: Any, number: jax.Array) -> Any:
            state, believed, key = carry
            key, noise = jax.random.split(key)
            believed = jnp.where(number % every == 0, state, believed)
            force = cartpole.command(believed)
            deviations = jnp.asarray(cartpole.DEVIATIONS, jnp.float32)
            state = cartpole.move(state, force) + deviations * jax.random.normal(noise, (4,), jnp.float32)
            return (state, plan(believed, force), key), (jnp.abs(state[2]) < 0.2) & (jnp.abs(state[0]) < 2.4)

        start = jnp.zeros(4), jnp.zeros(4), key
        return jnp.all(jax.lax.scan(tick, start, jnp.arange(steps))[1])

    return float(jnp.mean(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), runs))))


def test_a_model_of_the_physics_keeps_the_pole_up_and_holding_a_command_does_not() -> None:
    assert upright(cartpole.move, 1) == 1
    assert upright(cartpole.move, 10) >= 0.9
    assert upright(lambda believed, force: believed, 10) <= 0.1
