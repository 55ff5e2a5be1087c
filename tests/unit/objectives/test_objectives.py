"""Every term against a slow double-precision reference, and the invariances it should have."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jepa_jax.objectives import TERMS, build, prediction
from jepa_jax.objectives.coding_rate import coding_rate
from jepa_jax.objectives.infonce import infonce
from jepa_jax.objectives.koleo import koleo
from jepa_jax.objectives.sigreg import sigreg
from jepa_jax.objectives.uniformity import uniformity

SPHERE = [name for name, criterion in TERMS.items() if criterion.output == "sphere"]
KEY = jax.random.key(7)
SLICES = 5
TAU = inspect.signature(infonce).parameters["temperature"].default


def uniformity_reference(z: np.ndarray, t: float = 2.0) -> float:
    values = []
    for view in z:
        pairs = [np.exp(-t * ((a - b) ** 2).sum()) for a, b in permutations(view, 2)]
        values.append(np.log(np.mean(pairs)))
    return float(np.mean(values))


def infonce_reference(z: np.ndarray, tau: float = TAU) -> float:
    a, b = z
    rows = [logsumexp([x @ y / tau for y in b]) for x in a]
    columns = [logsumexp([x @ y / tau for x in a]) for y in b]
    return float((np.mean(rows) + np.mean(columns)) / 2 - np.log(len(a)))


def koleo_reference(z: np.ndarray) -> float:
    def nearest(view: np.ndarray, i: int) -> float:
        return min(float(np.linalg.norm(view[i] - view[j])) for j in range(len(view)) if j != i)

    return float(np.mean([-np.log(nearest(view, i)) for view in z for i in range(len(view))]))


def sigreg_reference(z: np.ndarray, dtype: str = "float64") -> float:
    directions = np.asarray(jax.random.normal(KEY, (z.shape[-1], SLICES), dtype), np.float64)
    t = np.linspace(0, 3, 17)
    values = []
    for view in z:
        for direction in directions.T:
            s = view @ (direction / np.linalg.norm(direction))
            phi = np.array([np.mean(np.exp(1j * t_n * s)) for t_n in t])
            gauss = np.exp(-0.5 * t**2)
            values.append(len(view) * 2 * np.trapezoid(np.abs(phi - gauss) ** 2 * gauss, t))
    return float(np.mean(values))


def energy_reference(z: np.ndarray, dtype: str = "float64") -> float:
    normal = np.asarray(jax.random.normal(KEY, z.shape[1:], dtype), np.float64)

    def apart(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        pairs = [(x, y) for i, x in enumerate(a) for j, y in enumerate(b) if not (same and i == j)]
        return float(np.mean([np.linalg.norm(x - y) for x, y in pairs]))

    values = [2 * apart(view, normal, False) - apart(view, view, True) for view in z]
    return float(np.mean(values)) - apart(normal, normal, True)


def vicreg_reference(z: np.ndarray) -> float:
    values = []
    for view in z:
        covariance = np.cov(view.T)
        off = covariance - np.diag(np.diag(covariance))
        hinge = np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4)).mean()
        values.append(hinge + (off**2).sum() / view.shape[1] / 25)
    return float(np.mean(values))


def barlow_reference(z: np.ndarray) -> float:
    a, b = z
    total, dim = 0.0, a.shape[1]
    for k in range(dim):
        for m in range(dim):
            c = np.corrcoef(a[:, k], b[:, m])[0, 1]
            total += (1 - c) ** 2 if k == m else 5e-3 * c**2
    return total


def coding_rate_reference(z: np.ndarray) -> float:
    values = []
    for view in z:
        dim = view.shape[1]
        mean, covariance = view.mean(0), np.cov(view.T, bias=True)
        rate = 0.5 * np.log(np.linalg.det(np.eye(dim) + dim / 0.25 * covariance))
        values.append(-rate + (mean @ mean + np.trace(covariance)) / 2)
    return float(np.mean(values))


REFERENCES: dict[str, Callable[[np.ndarray], float]] = {
    "uniformity": uniformity_reference,
    "infonce": infonce_reference,
    "koleo": koleo_reference,
    "sigreg": sigreg_reference,
    "energy": energy_reference,
    "vicreg": vicreg_reference,
    "barlow": barlow_reference,
    "coding_rate": coding_rate_reference,
    "none": lambda z: 0.0,
}


@cache
def term(name: str) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(partial(build(name, weight=None, temperature=None, num_slices=SLICES).term, key=KEY))


def normalised(w: np.ndarray) -> np.ndarray:
    return w / np.linalg.norm(w, axis=-1, keepdims=True)


def embeddings(name: str, count: int = 6, dim: int = 3, seed: int = 0) -> np.ndarray:
    """Two correlated views, [2, count, dim], on the sphere where the term wants them there."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((1, count, dim)), rng.standard_normal((2, count, dim))
    z = (0.8 * shared + 0.6 * own) * np.linspace(0.5, 1.6, dim) + 0.2
    return normalised(z) if name in SPHERE else z


@pytest.fixture(autouse=True)
def double() -> object:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("count", [4, 12])
def test_equals_the_reference(name: str, count: int) -> None:
    z = embeddings(name, count, 5)
    value = term(name)(jnp.asarray(z))
    assert value.shape == ()
    assert value.dtype == jnp.float64
    # Barlow and KoLeo carry an epsilon of 1e-6 and 1e-12 that the formula does not have.
    assert float(value) == pytest.approx(REFERENCES[name](z), rel=1e-4 if name == "barlow" else 1e-9, abs=1e-9)


@pytest.mark.parametrize("name", TERMS)
def test_runs_in_single_precision(name: str) -> None:
    z = embeddings(name, 12, 5).astype(np.float32)
    with jax.enable_x64(False):
        value = term(name)(jnp.asarray(z))
        assert value.dtype == jnp.float32
        drawn = name in ("sigreg", "energy")  # with a key, so that the numbers depend on the type
        exact = partial(REFERENCES[name], dtype="float32") if drawn else REFERENCES[name]
        assert float(value) == pytest.approx(exact(z.astype(np.float64)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_gradient_equals_finite_differences(name: str) -> None:
    # Terms of the sphere are differentiated along it: off it their formulas may differ.
    onto = normalised if name in SPHERE else lambda w: w
    w = embeddings(name)

    def library(w: jax.Array) -> jax.Array:
        z = w / jnp.linalg.norm(w, axis=-1, keepdims=True) if name in SPHERE else w
        return term(name)(z)

    numeric = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[i] = 1e-5
        numeric[i] = (REFERENCES[name](onto(w + step)) - REFERENCES[name](onto(w - step))) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.grad(library))(w), numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["uniformity", "infonce", "koleo", "coding_rate", "none"])
def test_rotation_changes_nothing(name: str) -> None:
    z = embeddings(name, 12, 5)
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    assert float(term(name)(jnp.asarray(z @ q))) == pytest.approx(float(term(name)(jnp.asarray(z))), abs=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_order_of_samples_and_views_changes_nothing(name: str) -> None:
    z = embeddings(name, 12, 5)
    order = np.random.default_rng(1).permutation(12)
    value = float(term(name)(jnp.asarray(z)))
    assert float(term(name)(jnp.asarray(z[:, order]))) == pytest.approx(value, abs=1e-10)
    assert float(term(name)(jnp.asarray(z[::-1]))) == pytest.approx(value, abs=1e-10)
    # Which sample is paired with which matters to one term only.
    broken = jnp.asarray(np.stack([z[0], z[1, order]]))
    assert (abs(float(term(name)(broken)) - value) > 1e-3) == (name == "barlow")


@pytest.mark.parametrize("name", sorted(TERMS.keys() - {"none"}))
def test_collapse_costs_more_than_the_law(name: str) -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((1, 256, 4)).repeat(2, 0) + 1e-3 * rng.standard_normal((2, 256, 4))
    clustered = np.ones(4) + 0.05 * rng.standard_normal((2, 256, 4))
    if name in SPHERE:
        spread, clustered = normalised(spread), normalised(clustered)
    assert float(term(name)(jnp.asarray(clustered))) > float(term(name)(jnp.asarray(spread))) + 0.1


def test_closed_forms() -> None:
    poles = jnp.asarray([[[1.0, 0.0], [-1.0, 0.0]]] * 2)
    point = jnp.asarray([[[1.0, 0.0]] * 4] * 2)
    assert float(uniformity(poles, KEY)) == pytest.approx(-8)  # -t |2|^2
    assert float(uniformity(poles, KEY, temperature=0.5)) == pytest.approx(-2)
    assert float(uniformity(point, KEY)) == pytest.approx(0)
    assert float(koleo(poles, KEY)) == pytest.approx(-np.log(2))
    assert float(infonce(point, KEY, temperature=0.2)) == pytest.approx(5)
    assert float(coding_rate(0 * point, KEY)) == pytest.approx(0)


def test_koleo_of_equal_samples_is_finite() -> None:
    point = jnp.asarray([[[1.0, 0.0]] * 4] * 2)
    value, grad = jax.value_and_grad(lambda z: koleo(z, KEY))(point)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_sigreg_knows_the_normal_law() -> None:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 3, 17)
    # E |phi_B - phi|^2 = (1 - phi^2) / B for B samples of the law.
    expected = 2 * np.trapezoid((1 - np.exp(-(t**2))) * np.exp(-0.5 * t**2), t)
    normal = rng.standard_normal((8, 512, 6))
    distance = jax.jit(lambda z: sigreg(z, KEY, num_slices=64))
    assert float(distance(normal)) == pytest.approx(expected, rel=0.15)
    others = {
        "collapsed": 0 * normal,
        "uniform": rng.uniform(-(3**0.5), 3**0.5, normal.shape),
        "wide": 2 * normal,
        "shifted": normal + 1,
        "sphere": normalised(normal),
    }
    values = {name: float(distance(z)) for name, z in others.items()}
    assert values.pop("uniform") > 1.3 * expected  # slices of six uniforms are nearly normal
    assert min(values.values()) > 10 * expected


def test_sigreg_draws_directions_from_its_key() -> None:
    z = jnp.asarray(embeddings("sigreg", 16, 5))
    draw = jax.jit(lambda key: sigreg(z, key, num_slices=4))
    one, again, other = (float(draw(key)) for key in (KEY, KEY, jax.random.key(8)))
    assert one == again
    assert one != other


def test_prediction_is_the_squared_distance() -> None:
    a, b = embeddings("infonce", 5, 3)
    np.testing.assert_allclose(prediction(jnp.asarray(a), jnp.asarray(b)), 2 - 2 * (a * b).sum(1), atol=1e-12)
    with pytest.raises(ValueError, match=r"\(5, 3\).*\(5, 1\)"):
        prediction(jnp.asarray(a), jnp.asarray(b[:, :1]))


def test_infonce_of_one_view_is_that_of_two_that_agree() -> None:
    z = embeddings("infonce", 6, 3)[:1]
    assert infonce(z, KEY) == infonce(jnp.concatenate([z, z]), KEY)


@pytest.mark.parametrize("temperature", [None, 0.05, 0.5])
def test_prediction_with_infonce_is_the_textbook_loss(temperature: float | None) -> None:
    criterion = build("infonce", weight=None, temperature=temperature, num_slices=1)
    tau = temperature or TAU
    assert criterion.weight == pytest.approx(2 * tau)
    constants = []
    for seed in range(3):
        a, b = z = embeddings("infonce", 9, 4, seed)
        ours = prediction(*jnp.asarray(z)).mean() + criterion.weight * criterion.term(jnp.asarray(z), KEY)
        logits = a @ b.T / tau
        textbook = np.mean([logsumexp(m[i]) - m[i, i] for m in (logits, logits.T) for i in range(9)])
        constants.append(float(ours) - 2 * tau * textbook)
    np.testing.assert_allclose(constants, constants[0], atol=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_build_binds_what_the_user_gave(name: str) -> None:
    plain = build(name, weight=None, temperature=None, num_slices=9)
    given = build(name, weight=0.7, temperature=0.3, num_slices=3)
    assert plain.weight == TERMS[name].weight
    assert given.weight == 0.7
    assert given.output == plain.output == TERMS[name].output
    assert given.base == plain.base
    z = jnp.asarray(embeddings(name, 8, 4))
    options = {"uniformity": {"temperature": 0.3}, "infonce": {"temperature": 0.3}, "sigreg": {"num_slices": 3}}
    direct = partial(TERMS[name].term, **options.get(name, {}))
    bound, unbound, expected = (float(jax.jit(f)(z, KEY)) for f in (given.term, plain.term, direct))
    assert bound == expected
    assert (bound != unbound) == (name in options)


@pytest.mark.parametrize("name", TERMS)
def test_the_table_agrees_with_itself(name: str) -> None:
    criterion = TERMS[name]
    assert criterion.output in ("sphere", "free")
    assert (criterion.base == "sphere") == (criterion.output == "sphere")
