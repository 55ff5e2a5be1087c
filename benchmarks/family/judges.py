"""Judges: functions (trained cell) -> figures by name, with the same measure of the untrained encoder beside."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.family.training import Trained, embedded, labelled
from jepa_jax import evaluate
from jepa_jax.config import Config, Linear
from jepa_jax.data import Samples
from jepa_jax.data.registry import open_dataset
from jepa_jax.targets import normed
from jepa_jax.worlds import linear

PCA_WIDTH = 16
Figures = dict[str, float]
Judge = Callable[[Trained], Figures]


def probe(cell: Trained, *, shots: int | None = None, second_order: bool = False, twice: bool = False) -> Figures:
    """Return the accuracy of a linear probe of trained and untrained embeddings, and of baselines.

    Args:
      cell: Trained cell.
      shots: Labels of each class; None for all.
      second_order: Whether covariances of the rows of samples are a baseline.
      twice: Whether to judge embeddings of samples that are twice as bright, too; they are logarithms of intensities.
    """
    fit_x, fit_y, x, y = labelled(cell.config.data.source)

    def accuracy(features: Callable[[np.ndarray], np.ndarray], x: np.ndarray = x) -> float:
        fit, query = features(fit_x), features(x)
        if shots is None:
            return evaluate.linear_probe(fit, fit_y, query, y)
        return evaluate.label_budget(fit, fit_y, query, y, shots=shots).mean

    untrained, after = cell.encoders
    z = embedded(after, x)
    found = {
        "trained": accuracy(partial(embedded, after)),
        "untrained": accuracy(partial(embedded, untrained)),
        "raw": accuracy(lambda x: raw(x, cell.source.categories)),
        "PCA": accuracy(evaluate.pca(raw(fit_x, cell.source.categories), PCA_WIDTH))
        if not cell.source.categories
        else np.nan,
        "effective rank": float(evaluate.effective_rank(jnp.asarray(z))),
    }
    if twice:
        found["twice as bright"] = accuracy(partial(embedded, after), x + np.float32(np.log(2)))
    if second_order:
        found["second order"] = accuracy(evaluate.second_order)
        found["second order, lag 1"] = accuracy(lambda x: evaluate.second_order(x, 1))
    return found


def raw(x: np.ndarray, categories: tuple[int, ...]) -> np.ndarray:
    """Return samples as vectors, with a number for every category of a table."""
    if not any(categories):
        return x.reshape(len(x), -1)
    columns = [
        np.eye(n)[column.astype(int)] if n else column[:, None] for n, column in zip(categories, x.T, strict=True)
    ]
    return np.concatenate(columns, axis=1)


def equation(depth: int, start: float, time: np.ndarray, *, distilled: bool) -> np.ndarray:
    """Return the singular values of a deep linear network on the world `linear`, by its differential equation.

    With u the singular value of a layer: du/dt = lambda u^(2 L) (1 - u / rho) for distillation with stopped gradients,
    and lambda u^L (1 - u^(L + 1) / rho) for reconstruction. Littwin et al., arXiv 2407.03475.

    Args:
      depth: Number of layers, L.
      start: Singular value of a layer at the start.
      time: Times [T], in steps times the learning rate.
      distilled: Whether the network is distilled, or reconstructs the partner.

    Returns:
      Singular values u^L of the features at these times, [T, 8].
    """
    rho, lam = linear.COEFFICIENTS, linear.COVARIANCES

    def slope(_: float, u: np.ndarray) -> np.ndarray:
        return lam * (u ** (2 * depth) * (1 - u / rho) if distilled else u**depth * (1 - u ** (depth + 1) / rho))

    first = np.full(linear.DIM, start)
    return solve_ivp(slope, (0, time[-1]), first, t_eval=time, rtol=1e-10, atol=1e-12).y.T ** depth


def trajectories(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train a deep linear network and return its singular values over time, beside those of its equation.

    The axes of the input are those of the map, so that its diagonal is compared with the singular values.

    Returns:
      Times [T] in steps times the learning rate, singular values [T, 8], and those of `equation` [T, 8].
    """
    from jepa_jax import fit

    assert isinstance(config.encoder, Linear)
    looks: list[tuple[int, np.ndarray]] = []

    def look(step: int, _: dict[str, float], encoder: Any) -> None:
        looks.append((step, np.diag(jax.jacfwd(encoder)(jnp.zeros(linear.DIM)))))

    fit(config, callback=look, every=100)
    time, w = np.array([step for step, _ in looks]) * config.optim.lr, np.stack([diagonal for _, diagonal in looks])
    return time, w, equation(config.encoder.depth, config.encoder.start, time, distilled=_is_distilled(config))


def _is_distilled(config: Config) -> bool:
    return getattr(config.recipe, "target", "") == "embedding"


def dynamics(cell: Trained) -> Figures:
    """Return how far a deep linear network is from its differential equation, and which feature comes first."""
    time, w, exact = trajectories(cell.config)
    assert isinstance(cell.config.encoder, Linear)
    depth, distilled = cell.config.encoder.depth, _is_distilled(cell.config)
    limit = linear.COEFFICIENTS ** (depth if distilled else depth / (depth + 1))
    half = [np.interp(0.5 * limit[i], w[:, i], time) for i in (0, -1)]
    return {"off the equation": float(np.abs(w / exact - 1).max()), "time of feature 1 / 8": float(half[0] / half[1])}


def stems(cell: Trained) -> Figures:
    """Return how well the fourth voice of held-out chorales is found among all of its kind, and without its name.

    Embeddings are compared, or all tokens if the recipe predicts those.
    """
    samples = open_dataset("chorales")
    assert isinstance(samples, Samples)
    assert samples.held_out is not None
    rows = samples.held_out
    x, pair, voice = np.asarray(samples.x[rows]), np.asarray(samples.pair)[rows], np.asarray(samples.label)[rows]
    condition = np.asarray(samples.condition)[rows]
    encoder, by_token = cell.networks["encoder"], getattr(cell.config.recipe, "target", "") == "tokens"
    of = encoder.tokens if by_token else lambda params, x: encoder.apply(params, x)[None]
    assert of is not None
    read = jax.jit(jax.vmap(of, (None, 0)))
    answer = jax.jit(jax.vmap(jax.vmap(cell.networks["predictor"].apply, (None, 0)), (None, 0)))

    def found(state: Any, told: np.ndarray) -> list[evaluate.Retrieval]:
        teacher = state.get("teacher", state["params"])["encoder"]
        z, wanted = read(state["params"]["encoder"], x), read(teacher, pair)
        wanted = normed(wanted) if by_token else wanted
        given = jnp.broadcast_to(jnp.asarray(told)[:, None], (*z.shape[:2], told.shape[1]))
        predicted = answer(state["params"]["predictor"], jnp.concatenate([z, given], axis=-1))
        return [evaluate.retrieval(np.asarray(predicted)[voice == v], np.asarray(wanted)[voice == v]) for v in range(4)]

    right, start = found(cell.after, condition), found(cell.before, condition)
    wrong = found(cell.after, np.roll(condition, 1, axis=1))
    return {
        "R@1, lowest voice": min(one.recall[1] for one in right),
        "rank, highest": max(one.rank for one in right),
        "R@1, untrained": max(one.recall[1] for one in start),
        "R@1, wrong voice told": max(one.recall[1] for one in wrong),
        "rank, wrong voice told": max(one.rank for one in wrong),
    }


def density(cell: Trained) -> Figures:
    """Return the rank correlation of the learned density with the exact one, trained and untrained."""
    from jepa_jax.density import base_log_density, score_batches

    exact = cell.source.probe(1000)
    found = {}
    for name, encoder in zip(("untrained", "trained"), cell.encoders, strict=True):
        scores, embeddings = [], []
        for part in score_batches(encoder, exact.x):
            scores.append(np.asarray(part.score))
            embeddings.append(np.asarray(part.embedding))
        score = np.concatenate(scores)
        base = base_log_density(jnp.asarray(np.concatenate(embeddings)), encoder.base)
        found[f"score, {name}"] = evaluate.agreement(score, np.asarray(exact.log_density)).spearman
        if base is not None:
            learned = score + np.asarray(base)
            found[f"corrected, {name}"] = evaluate.agreement(learned, np.asarray(exact.log_density)).spearman
    return found
