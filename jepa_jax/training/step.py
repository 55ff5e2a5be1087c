"""Training step, and its repetition in one dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.data import Source
from jepa_jax.encoder import Encoder
from jepa_jax.recipes import (
    RECIPES,
    Batch,
    Params,
    as_encoder,
    build_loss,
    build_networks,
    followed,
    init_networks,
    weights_path,
)
from jepa_jax.resolve import base_distribution
from jepa_jax.sharding import batch_sharding, replicated, state_shardings
from jepa_jax.training import optim
from jepa_jax.views import Pipeline, Views, build_pipeline

State = dict[str, Any]
METRICS = ("loss", "prediction", "anti_collapse", "grad_norm")
RUN_ONCE_OPTIONS = {"xla_backend_optimization_level": 0}  # fast compilation, which takes longer than a single run
STEPS_PER_DISPATCH = 1000  # maximum; the loop of the program requests fewer
AVERAGE_WARMUP_STEPS = 10.0  # a young average of the weights decays faster, so that the first weights leave no trace

# (state, arrays, number) -> (state, metrics [4]), for the step with this number, which starts at 1.
Step = Callable[[State, Any, Array], tuple[State, Array]]


class Trainer(NamedTuple):
    """Pure functions of a run.

    Attributes:
      init: Function () -> state, a dict of `params`, `optimizer`, and `teacher`, `ema`, `extra` if the config has them.
      run: Function (state, arrays, start, stop) -> (state, metrics [STEPS_PER_DISPATCH, 4]), which takes the steps from
        start + 1 to stop. Row i of the metrics belongs to step start + 1 + i. The state is donated.
      encoder: Function state -> the encoder that is scored, with the weights that are the result of the run.
      state: Shapes and types of a state.
      shardings: Shardings of the state on several devices; or None.
    """

    init: Callable[[], State]
    run: Any  # a jitted function, which can also be lowered
    encoder: Callable[[State], Encoder]
    state: State
    shardings: Any = None


def make_trainer(
    config: cfg.Config, source: Source, mesh: Mesh | None = None, initial: Params | None = None
) -> Trainer:
    """Build the networks, the objective and the optimiser of a resolved config into pure functions.

    Args:
      config: Resolved config.
      source: Source of the data.
      mesh: Mesh from `training_mesh`; None for the default device.
      initial: Weights of the encoder at the start, instead of random ones; or None.

    Raises:
      ConfigError: If sizes are incompatible.
    """
    if mesh is not None and mesh.size == 1:
        mesh = None  # there is nothing to divide
    networks = build_networks(config, source.shape)
    optimizer = optim.build(config.optim, config.steps)
    loss, extra = build_loss(config, networks)
    path = weights_path(config)
    model, base = networks["encoder"], base_distribution(config)
    scale = source.scale if initial is None else initial["input"]["scale"]

    def init(initial: Params | None) -> State:
        key = jax.random.fold_in(jax.random.key(config.seed), 0)
        params = init_networks(networks, key, source.mean, source.scale, source.quantiles, source.row_features)
        if initial is not None:
            params["encoder"] = jax.tree.map(jnp.asarray, initial)
        state: State = {"params": params, "optimizer": optimizer.init(params)}
        # Copy the averages: the state is donated, and a buffer cannot be donated twice.
        if config.recipe.ema:
            state["teacher"] = jax.tree.map(jnp.copy, followed(params))
        if config.optim.ema:
            state["ema"] = jax.tree.map(jnp.copy, params["encoder"])
        return state | ({"extra": extra} if extra else {})

    def encoder(state: State) -> Encoder:
        params = state
        for name in path:
            params = params[name]
        return as_encoder(model, params, source.shape, base, scale)

    run = many_steps(make_step(config, batch_of(config, source), loss, optimizer, mesh))
    abstract = jax.eval_shape(init, initial)
    shardings = None if mesh is None else state_shardings(abstract, mesh)
    placed = None if mesh is None else (shardings, replicated(mesh))
    # The weights are an argument, because as constants they would be compiled.
    start = partial(jax.jit(init, out_shardings=shardings, compiler_options=RUN_ONCE_OPTIONS), initial)
    return Trainer(start, jax.jit(run, donate_argnums=0, out_shardings=placed), encoder, abstract, shardings)


def make_step(
    config: cfg.Config,
    draw: Callable[[Any, Array], tuple[Views, Array | None]],
    loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None,
) -> Step:
    """Return one step of a resolved config.

    Args:
      config: Resolved config.
      draw: Function (arrays, key) -> views and conditions of a batch.
      loss: Loss of the recipe.
      optimizer: Optimiser, from Optax.
      mesh: Mesh of several devices, or None.
    """
    options, root = config.objective, jax.random.key(config.seed)
    regulariser = objectives.build(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )

    def objective(params: State, state: State, batch: Batch) -> tuple[Array, tuple[Any, ...]]:
        outcome = loss(params, state.get("teacher", params), state.get("extra", {}), batch)
        prediction = jnp.mean(outcome.prediction)
        # Not 0 times the term, whose gradient would still be computed.
        total = options.prediction_weight * prediction if options.prediction_weight else 0.0
        if outcome.log_volume is None:
            anti_collapse = regulariser.term(outcome.embedding, batch.key)
        else:
            gaussian = config.encoder.output == "gaussian"
            anti_collapse = regulariser.term(outcome.embedding, outcome.log_volume, gaussian=gaussian)
        return total + regulariser.weight * anti_collapse, (prediction, anti_collapse, outcome.extra)

    def step(state: State, arrays: Any, number: Array) -> tuple[State, Array]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(root, number))
        views, condition = draw(arrays, data_key)
        if mesh is not None:
            # The other shardings follow from this one and that of the state: sums over the batch span all devices.
            views = jax.lax.with_sharding_constraint(views, batch_sharding(mesh, axis=1))
            condition = jax.lax.with_sharding_constraint(condition, batch_sharding(mesh))
        params: Any = state["params"]
        progress = number / config.steps
        (value, (prediction, anti_collapse, extra)), grads = jax.value_and_grad(objective, has_aux=True)(
            params, state, Batch(views, loss_key, progress, condition)
        )
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes dtypes, which strict promotion does not allow
            updates, opt_state = optimizer.update(grads, state["optimizer"], params)
            params = optax.apply_updates(params, updates)
        after = {"params": params, "optimizer": opt_state} | ({"extra": extra} if extra else {})
        after |= averages(config, state, params, number)
        return after, jnp.stack([value, prediction, anti_collapse, optax.tree.norm(grads)])

    return step


def many_steps(step: Step) -> Callable[[State, Any, int, int], tuple[State, Array]]:
    """Repeat a step in one loop.

    Args:
      step: Function of one step.

    Returns:
      Function (state, arrays, start, stop) -> the state after step `stop`, and the metrics [STEPS_PER_DISPATCH, 4].
    """

    def run(state: State, arrays: Any, start: int, stop: int) -> tuple[State, Array]:
        # The loop has no static length, so that one compilation serves every dispatch, and a run that is interrupted
        # and resumed is the same to the bit.
        def body(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, rows = carry
            state, row = step(state, arrays, start + 1 + i)
            return state, rows.at[i].set(row)

        return jax.lax.fori_loop(0, stop - start, body, (state, jnp.zeros((STEPS_PER_DISPATCH, len(METRICS)))))

    return run


def averages(config: cfg.Config, state: State, params: State, number: Array) -> State:
    """Return the moving averages of a state after a step: `teacher` and `ema`, if the config has them."""
    after = {}
    if "teacher" in state:
        decay = teacher_decay(config, number)
        after["teacher"] = optax.incremental_update(followed(params), state["teacher"], 1 - decay)
    if "ema" in state:
        decay = jnp.minimum(config.optim.ema, number / (number + AVERAGE_WARMUP_STEPS))
        after["ema"] = optax.incremental_update(params["encoder"], state["ema"], 1 - decay)
    return after


def teacher_decay(config: cfg.Config, number: Array) -> Array | float:
    """Return the decay of the teacher at this step."""
    options = config.recipe
    if options.ema_end is None:
        return options.ema
    return options.ema + (options.ema_end - options.ema) * number / config.steps


def pipeline_of(config: cfg.Config, source: Source) -> Pipeline:
    """Return the pipeline of views of a resolved config for its source."""
    return build_pipeline(
        config.views,
        shape=source.shape,
        noise=source.noise,
        shift=config.data.shift,
        world=source.world,
        most=RECIPES[config.recipe.kind].views_read(config.recipe),
    )


def batch_of(config: cfg.Config, source: Source) -> Callable[[Any, Array], tuple[Views, Array | None]]:
    """Return a function (arrays, key) -> views [V, B, ...] of a batch, in groups of one size, and conditions [B, C].

    The conditions are None if the data have none.
    """
    pipeline, world = pipeline_of(config, source), source.world

    def batch(arrays: Any, key: Array) -> tuple[Views, Array | None]:
        examples, keys = source.draw(arrays, key)
        condition = examples.get("condition")
        if world is not None and world.condition is not None:
            condition = jax.vmap(world.condition)(examples["state"])
        return jax.vmap(pipeline, out_axes=1)(keys, examples), condition

    return batch


def views_of(config: cfg.Config, source: Source) -> Callable[[Any, Array], Views]:
    """Return a function (arrays, key) -> views [V, B, ...] of a batch from the source, in groups of one size."""
    batch = batch_of(config, source)
    return lambda arrays, key: batch(arrays, key)[0]
