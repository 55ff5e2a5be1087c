"""One training step, and many of them in one dispatch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.data import Source
from jepa_jax.models import Model, build_parts, followed, init_parts
from jepa_jax.resolve import views_read, weights_path
from jepa_jax.sharding import batch_sharding, replicated, state_shardings
from jepa_jax.views import Pipeline, Views, build_pipeline
from train import optim
from train.tasks import build_task

State = dict[str, Any]
METRICS = ("loss", "prediction", "anti_collapse", "grad_norm")


class Trainer(NamedTuple):
    """A run's pure functions.

    Attributes:
      init: () -> state, a dict of `params`, `optimizer`, and `target`, `average`, `extra` where the config has them.
      run: (state, arrays, start, stop) -> (state, metrics [STEPS_PER_DISPATCH, 4]) takes steps start + 1 .. stop;
        row i of the metrics belongs to step start + 1 + i. The state is donated.
      encoder: the model.
      shardings: of the state, where there are several devices; or None.
    """

    init: Callable[[], State]  # jitted
    run: Any  # a jitted function, which can also be lowered
    encoder: Model
    shardings: Any = None


ONCE = {"xla_backend_optimization_level": 0}  # compiling what runs once takes far longer than running it
STEPS_PER_DISPATCH = 1000  # at most; the loop asks for fewer


def encoder_params(state: State, config: cfg.Config) -> Any:
    """The weights that are scored: the moving average where there is one, and the teacher where it is the result."""
    tree = state
    for part in weights_path(config):
        tree = tree[part]
    return tree


def make_trainer(config: cfg.Config, source: Source, mesh: Mesh | None = None) -> Trainer:
    """Build the networks, the objective and the optimiser of a resolved config into pure functions.

    Args:
      mesh: of `open_mesh`; None for the default device.
    """
    if mesh is not None and mesh.size == 1:
        mesh = None  # nothing to divide
    options = config.objective
    regulariser = objectives.build(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    parts = build_parts(config, source.shape)
    task = build_task(config, parts, source.shape)
    make_views = views_of(config, source)
    optimizer = optim.build(config.optim, config.steps)
    root = jax.random.key(config.seed)

    def init() -> State:
        params = init_parts(parts, jax.random.fold_in(root, 0), source.mean, source.scale)
        state: State = {"params": params, "optimizer": optimizer.init(params)}
        # Copies: the state is donated, and a buffer cannot be given away twice.
        if options.ema:
            state["target"] = jax.tree.map(jnp.copy, followed(params))
        if config.optim.average:
            state["average"] = jax.tree.map(jnp.copy, params["encoder"])
        return state | ({"extra": task.extra} if task.extra else {})

    def loss(params: State, target: Any, extra: Any, views: Views, key: Array) -> tuple[Array, tuple[Any, ...]]:
        outcome = task.predict(params, params if target is None else target, extra, views, key)
        prediction = jnp.mean(outcome.prediction)
        anti_collapse = regulariser.term(outcome.embedding, key)
        return prediction + regulariser.weight * anti_collapse, (prediction, anti_collapse, outcome.extra)

    def step(state: State, arrays: Any, number: Array) -> tuple[State, Array]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(root, number))
        views = make_views(arrays, data_key)
        if (
            mesh is not None
        ):  # the rest follows from this and from how the state is spread: sums over the batch are over all
            views = jax.lax.with_sharding_constraint(views, batch_sharding(mesh, axis=1))
        params: Any = state["params"]
        (total, (prediction, anti_collapse, extra)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, state.get("target"), state.get("extra", {}), views, loss_key
        )
        # optax mixes dtypes, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, state["optimizer"], params)
            params = optax.apply_updates(params, updates)
        after = {"params": params, "optimizer": opt_state} | ({"extra": extra} if extra else {})
        if "target" in state:
            decay = ema_decay(config, number)
            after["target"] = optax.incremental_update(followed(params), state["target"], 1 - decay)
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

    if mesh is None:
        return Trainer(jax.jit(init, compiler_options=ONCE), jax.jit(run, donate_argnums=0), parts["encoder"])
    shardings = state_shardings(jax.eval_shape(init), mesh)
    compiled = jax.jit(run, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
    start = jax.jit(init, out_shardings=shardings, compiler_options=ONCE)
    return Trainer(start, compiled, parts["encoder"], shardings)


def ema_decay(config: cfg.Config, number: Array) -> Array | float:
    """Of the targets' moving average at this step."""
    options = config.objective
    if options.ema_end is None:
        return options.ema
    return options.ema + (options.ema_end - options.ema) * number / config.steps


def pipeline_of(config: cfg.Config, source: Source) -> Pipeline:
    """The pipeline of a resolved config on its source."""
    return build_pipeline(
        config.views,
        shape=source.shape,
        noise=source.noise,
        shift=config.data.shift,
        world=source.world,
        most=views_read(config),
    )


def views_of(config: cfg.Config, source: Source) -> Callable[[Any, Array], Views]:
    """(arrays, key) -> views [V, B, ...] in groups of one size, of a batch of the source's examples."""
    pipeline = pipeline_of(config, source)

    def views(arrays: Any, key: Array) -> Views:
        examples, keys = source.draw(arrays, key)
        return jax.vmap(pipeline, out_axes=1)(keys, examples)

    return views
