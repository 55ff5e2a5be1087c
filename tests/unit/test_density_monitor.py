"""The density monitor in loops of any library: present weights, one compilation, metrics that are right, bad input."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import jepa_jax
from jepa_jax import evaluate
from jepa_jax.density import batches

RNG = np.random.default_rng(5)
PROBE = (RNG.standard_normal((200, 3)) * [1, 2, 0.5]).astype(np.float32)
EXACT = stats.norm.logpdf(PROBE, scale=[1, 2, 0.5]).sum(axis=1)


def squash(params: Any, x: jax.Array) -> jax.Array:
    """The distribution function of each number, up to a scale: its score is the log-density of a normal one."""
    return jax.scipy.stats.norm.cdf(x / params["scale"])


RIGHT = {"scale": jnp.asarray([1.0, 2.0, 0.5])}


class Linear(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.eye(3))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.w[...] @ x)


class Tree:
    """A pytree with a leaf that is no array, as Equinox modules are."""

    def __init__(self, w: Any, activation: Callable[..., Any]) -> None:
        self.w, self.activation = w, activation

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.activation(self.w @ x)


jax.tree_util.register_pytree_node(Tree, lambda m: ((m.w, m.activation), None), lambda _, leaves: Tree(*leaves))


def in_nnx() -> tuple[Any, Callable[[Any], Any]]:
    module = Linear()

    def change(w: Any) -> Any:
        module.w[...] = w
        return module

    return None, change


def in_nnx_with_apply() -> tuple[Any, Callable[[Any], Any]]:
    return (lambda module, x: module(x)), in_nnx()[1]


def in_linen() -> tuple[Any, Callable[[Any], Any]]:
    module = nn.Dense(3)
    variables = lambda w: {"params": {"kernel": w.T, "bias": jnp.zeros(3)}}  # noqa: E731
    return (lambda params, x: jnp.tanh(module.apply(params, x))), variables


def in_bound_linen() -> tuple[Any, Callable[[Any], Any]]:
    variables = in_linen()[1]

    class Squashed(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return jnp.tanh(nn.Dense(3, name="dense")(x))

    return None, lambda w: Squashed().bind({"params": {"dense": variables(w)["params"]}})


def in_a_tree() -> tuple[Any, Callable[[Any], Any]]:
    return None, lambda w: Tree(w, jnp.tanh)


def in_a_closure() -> tuple[Any, Callable[[Any], Any]]:
    return None, lambda w: lambda x: jnp.tanh(w @ x)


def in_params() -> tuple[Any, Callable[[Any], Any]]:
    return (lambda w, x: jnp.tanh(w @ x)), lambda w: w


PLACES = [in_nnx, in_nnx_with_apply, in_linen, in_bound_linen, in_a_tree, in_a_closure, in_params]


@pytest.mark.parametrize("place", PLACES)
def test_present_weights_count_and_nothing_is_compiled_again(place: Callable[[], Any]) -> None:
    apply, with_weights = place()
    monitor = jepa_jax.DensityMonitor(apply, PROBE, outliers={"far": PROBE[:50] + 9})
    compiled = []
    for seed in range(3):
        w = jnp.asarray(0.2 * np.random.default_rng(seed).standard_normal((3, 3)), jnp.float32)
        look = monitor(with_weights(w))
        expected = jepa_jax.score_samples(functools.partial(lambda w, x: jnp.tanh(w @ x), w), PROBE)
        np.testing.assert_allclose(look.score, expected, atol=1e-4)
        compiled.append(batches._compiled._cache_size())  # pyright: ignore[reportFunctionMemberAccess]
    assert compiled[0] == compiled[1] == compiled[2]
    assert [row["step"] for row in monitor.history] == [0, 1, 2]
    assert monitor.history[2]["density/score_mean"] == look["density/score_mean"]


def test_metrics_are_what_they_are_called() -> None:
    labels = PROBE[:, 0] > 0
    monitor = jepa_jax.DensityMonitor(
        squash, PROBE, EXACT, labels=labels, outliers={"far": PROBE + 6, "same": PROBE}, noise=[0.1, 0.2, 0.05]
    )
    look = monitor(RIGHT, step=40)
    assert all(type(value) is float for value in look.values())
    assert look["density/spearman"] > 0.999
    assert look["density/slope"] == pytest.approx(1, abs=1e-3)
    assert look["density/score_mean"] == pytest.approx(EXACT.mean(), abs=1e-3)
    assert look["density/clipped"] == 0
    assert look["auroc/far"] > 0.99
    assert look["auroc/same"] == pytest.approx(0.5)
    assert look["embedding/effective_rank"] == pytest.approx(float(evaluate.effective_rank(squashed())), abs=1e-3)
    assert 2.5 < look["embedding/lidar"] <= 3
    assert look["embedding/folded"] < 0.05
    assert look["probe/linear"] > 0.9
    assert "density/knn_spearman" not in look  # there is something better
    assert look.health.verdict == "healthy"
    assert str(look) == look.line
    assert str(look).startswith("step     40  spearman 1.000")
    wrong = monitor({"scale": jnp.asarray([3.0, 0.3, 0.5])})
    assert wrong["density/spearman"] < 0.7
    assert wrong.health.verdict != "healthy"


def squashed() -> jax.Array:
    return jax.vmap(squash, (None, 0))(RIGHT, PROBE)


def test_the_law_corrects_the_score() -> None:
    """A linear map to N(0, I) has a constant Jacobian, so that the law is all there is."""
    monitor = jepa_jax.DensityMonitor(lambda p, x: x / p["scale"], PROBE, EXACT, base="normal")
    look = monitor(RIGHT)
    assert np.isnan(look["density/spearman"])
    assert look["density/log_density_spearman"] > 0.999
    assert look.log_density is not None
    np.testing.assert_allclose(look.log_density, EXACT, atol=1e-3)


def test_without_a_truth_neighbours_judge() -> None:
    training = (RNG.standard_normal((2000, 3)) * [1, 2, 0.5]).astype(np.float32)
    look = jepa_jax.DensityMonitor(squash, PROBE, training=training)(RIGHT)
    assert look["density/knn_spearman"] > 0.8
    assert look.health.verdict == "healthy"
    images = RNG.standard_normal((40, 4, 4, 1)).astype(np.float32)
    look = jepa_jax.DensityMonitor(lambda w, x: w @ x.reshape(-1), images)(jnp.eye(16))
    assert "density/knn_spearman" not in look
    assert look.health.verdict == "unchecked"


@pytest.mark.parametrize(
    ("apply", "verdict"),
    [
        (lambda p, x: 0.01 * squash(p, x), "healthy"),  # nothing says how large a free embedding should be
        (lambda p, x: 5 + 1e-3 * squash(p, x), "collapsed"),
        (lambda p, x: squash(p, x) * jnp.asarray([jnp.nan, 1, 1]), "collapsed"),
        (lambda p, x: jnp.sum(x) + 1e-3 * squash(p, x), "low-rank"),
    ],
)
def test_what_is_broken_is_named(apply: Callable[..., Any], verdict: str) -> None:
    assert jepa_jax.DensityMonitor(apply, PROBE, EXACT)(RIGHT).health.verdict == verdict


@pytest.mark.parametrize("exact", [EXACT, None], ids=["truth", "no truth"])
def test_figure(exact: Any) -> None:
    import matplotlib

    backend = matplotlib.rcParams["backend"]
    monitor = jepa_jax.DensityMonitor(squash, PROBE, exact)
    first = monitor(RIGHT, 0)
    monitor(RIGHT, 10)
    figure = first.figure()
    titles = [ax.get_title() for ax in figure.axes]
    assert ("Spearman 1.000" in titles[0]) == (exact is not None)
    assert [len(line.get_xdata()) for line in figure.axes[2].lines] == [1]  # later looks are not drawn
    figure.canvas.draw()
    assert matplotlib.rcParams["backend"] == backend


@pytest.mark.parametrize(
    ("probe", "options", "says"),
    [
        (PROBE[:, 0], {}, r"probe should be numbers \[N, ...\], not float32 \[200\]"),
        (PROBE[:0], {}, "probe should be numbers"),
        ([["a", "b"]], {}, "probe should be numbers"),
        ([[1.0, 2.0], [3.0]], {}, "one array of samples"),
        (np.where(np.arange(200)[:, None] == 7, np.nan, PROBE), {}, "not finite in 1 samples, the first is number 7"),
        (PROBE, {"log_density": EXACT[:-1]}, "log_density has shape .199., and the probe set has 200"),
        (PROBE, {"log_density": EXACT[:, None]}, r"log_density has shape \[200, 1\]"),
        (PROBE, {"log_density": np.full(200, np.nan)}, "log_density is not finite in 200 places"),
        (PROBE, {"labels": [1, 2]}, "labels has shape"),
        (PROBE, {"outliers": {"a": PROBE[:, :2]}}, r"outliers\['a'\] has samples of shape \[2\]"),
        (PROBE, {"training": PROBE[:, :1]}, "training has samples of shape"),
        (PROBE, {"views": PROBE}, "views has shape"),
        (PROBE, {"views": PROBE[:, None]}, "V >= 2"),
        (PROBE, {"views": PROBE[:, None], "noise": 1.0}, "either views or noise"),
        (PROBE, {"base": "laplace"}, "base is 'laplace'"),
    ],
)
def test_bad_input_is_refused(probe: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        jepa_jax.DensityMonitor(squash, probe, **options)


def test_functions_that_cannot_be_evaluated() -> None:
    with pytest.raises(TypeError, match="called with a module or a function"):
        jepa_jax.DensityMonitor(None, PROBE)(RIGHT)
    with pytest.raises(ValueError, match="a batch of one"):
        jepa_jax.DensityMonitor(lambda p, x: jnp.tanh(x) @ jnp.eye(3) + 0 * x.reshape(-1, 3), PROBE)(RIGHT)
