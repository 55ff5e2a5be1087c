"""One training step, and many of them in one dispatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.data import Source
from jepa_jax.models import Model, build, build_predictor
from train import optim

State = dict[str, Any]
METRICS = ("loss", "prediction", "anti_collapse", "grad_norm")


class Trainer(NamedTuple):
    """A run's pure functions.

    Attributes:
      init: () -> state, a dict of `params`, `optimizer`, and `target` and `average` where the config asks for them.
      run: (state, arrays, start, stop) -> (state, metrics [STEPS_PER_DISPATCH, 4]) takes steps start + 1 .. stop;
        row i of the metrics belongs to step start + 1 + i. The state is donated.
      encoder: the model.
    """

    init: Callable[[], State]
    run: Callable[[State, Any, int, int], tuple[State, Array]]
    encoder: Model


STEPS_PER_DISPATCH = 1000  # at most; the loop asks for fewer


def encoder_params(state: State) -> Any:
    """The weights that are scored: the moving average where there is one."""
    return state["average"] if "average" in state else state["params"]["encoder"]


def make_trainer(config: cfg.Config, source: Source) -> Trainer:
    """Build the encoder, the objective and the optimiser of a resolved config into pure functions."""
    options = config.objective
    criterion = objectives.build(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    encoder = build(config.encoder, source.shape, config.encoder.output)
    predictor = build_predictor(options.predictor, encoder.dim) if options.predictor else None
    optimizer = optim.build(config.optim, config.steps)
    root = jax.random.key(config.seed)

    def init() -> State:
        encoder_key, predictor_key = jax.random.split(jax.random.fold_in(root, 0))
        params = {"encoder": encoder.init(encoder_key, source.mean, source.scale)}
        if predictor is not None:
            params["predictor"] = predictor.init(predictor_key)
        state: State = {"params": params, "optimizer": optimizer.init(params)}
        # Copies: the state is donated, and a buffer cannot be given away twice.
        if options.ema:
            state["target"] = jax.tree.map(jnp.copy, params["encoder"])
        if config.optim.average:
            state["average"] = jax.tree.map(jnp.copy, params["encoder"])
        return state

    def embed(params: Any, views: Array) -> Array:  # [V, B, ...] -> [V, B, K]
        # One flat batch: a second vmap would make the matrix products batched ones, which are slower.
        z = jax.vmap(encoder.apply, (None, 0))(params, views.reshape(-1, *source.shape))
        return z.reshape(*views.shape[:2], -1)

    def predict(params: Any, z: Array) -> Array:
        if predictor is None:
            return z
        p = jax.vmap(jax.vmap(predictor.apply, (None, 0)), (None, 0))(params["predictor"], z)
        if config.encoder.output == "sphere":
            p = p * jax.lax.rsqrt(jnp.sum(p**2, axis=-1, keepdims=True) + 1e-12)
        return p

    def loss(params: State, target: Any, views: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        z = embed(params["encoder"], views)
        targets = z if target is None else embed(target, views)
        # Each view predicts the other; for a shared encoder without predictor the two halves are equal.
        prediction = jnp.mean(objectives.prediction(predict(params, z), targets[::-1]))
        anti_collapse = criterion.term(z, key)
        return prediction + criterion.weight * anti_collapse, (prediction, anti_collapse)

    def step(state: State, arrays: Any, number: Array) -> tuple[State, Array]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(root, number))
        views = source.views(arrays, data_key)
        params: Any = state["params"]
        (total, (prediction, anti_collapse)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, state.get("target"), views, loss_key
        )
        # optax mixes dtypes, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, state["optimizer"], params)
            params = optax.apply_updates(params, updates)
        after = {"params": params, "optimizer": opt_state}
        if "target" in state:
            after["target"] = optax.incremental_update(params["encoder"], state["target"], 1 - options.ema)
        if "average" in state:
            # Young averages forget faster, so that the initial weights leave no trace.
            decay = jnp.minimum(config.optim.average, number / (number + 10.0))
            after["average"] = optax.incremental_update(params["encoder"], state["average"], 1 - decay)
        return after, jnp.stack([total, prediction, anti_collapse, optax.tree.norm(grads)])

    def run(state: State, arrays: Any, start: int, stop: int) -> tuple[State, Array]:
        # A loop of unknown length: one compilation serves every dispatch, and so cutting a run in two, as a resume
        # does, changes no bit of it.
        def body(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, rows = carry
            state, row = step(state, arrays, start + 1 + i)
            return state, rows.at[i].set(row)

        return jax.lax.fori_loop(0, stop - start, body, (state, jnp.zeros((STEPS_PER_DISPATCH, len(METRICS)))))

    return Trainer(init, jax.jit(run, donate_argnums=0), encoder)
