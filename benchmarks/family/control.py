"""Closed loop of cart-poles whose embeddings are sent now and then: the judge of TS-JEPA's row."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks.family.training import Trained
from jepa_jax import evaluate
from jepa_jax.models import build_mlp
from jepa_jax.recipes import weights_path
from jepa_jax.worlds import WORLDS, cartpole

FITTED_ON = 8000  # pairs of states that the actor is fitted on
ACTOR_WIDTHS, ACTOR_STEPS, ACTOR_BATCH, ACTOR_RATE = (64, 64), 6000, 512, 3e-3


def control(cell: Trained) -> dict[str, float]:
    """Return the share of cart-poles that stay upright if each tenth observation is sent, as an embedding.

    Between messages the predictor is told the last embedding sent and all commands since.
    """
    tenth, fourth, all_sent = kept(cell, cell.after, (10, 4, 1))
    return {
        "trained": tenth,
        "untrained": kept(cell, cell.before, (10,))[0],
        "trained, all sent": all_sent,
        "trained, each 4th": fourth,
    }


def kept(cell: Trained, state: Any, every: tuple[int, ...]) -> list[float]:
    """Return the shares of 200 cart-poles upright for 500 steps if one observation in so many is sent."""
    world, deviations = WORLDS[cell.config.data.source](), jnp.asarray(cartpole.DEVIATIONS, jnp.float32)
    assert world.condition is not None
    encode, ahead = (jax.jit(function) for function in _networks(cell, state, world))
    _, states = world.sample(jax.random.key(5), FITTED_ON)
    conditions = jax.vmap(world.condition)(states)
    z = jax.vmap(encode)(states[:, :4], jax.random.split(jax.random.key(1), len(states)))
    both = jnp.concatenate([z, jax.vmap(ahead)(z, conditions)])
    wanted = jax.vmap(cartpole.command)(jnp.concatenate([states[:, :4], states[:, -4:]]))
    if (act := actor(np.asarray(both), np.asarray(wanted))) is None:
        return [0.0 for _ in every]
    horizon = max(1, conditions.shape[1] // 2)  # commands and which of them count; one command alone counts

    def sense(s: Array, key: Array) -> Any:
        z = encode(s, key)
        return z, z, jnp.zeros((2, horizon)), 0

    def predict(message: Any, force: Array) -> Any:
        sent, _, commands, count = message
        now = jnp.stack([force / cartpole.MAX_FORCE, jnp.ones_like(force)])
        commands = commands.at[:, count].set(now) if horizon > 1 else now[:, None]
        z = ahead(sent, commands.reshape(-1)[: conditions.shape[1]])
        return (sent, z, commands, count + 1) if horizon > 1 else (z, z, commands, count)

    shares = partial(
        evaluate.share_kept,
        move=lambda s, force, key: cartpole.move(s, force) + deviations * jax.random.normal(key, (4,)),
        sense=sense,
        act=lambda m: jnp.clip(act(m[1]), -cartpole.MAX_FORCE, cartpole.MAX_FORCE),
        predict=predict,
        kept=lambda s: (jnp.abs(s[2]) < 0.2) & (jnp.abs(s[0]) < 2.4),
        start=jnp.zeros(4),
        key=jax.random.key(0),
    )
    return [shares(every=steps) for steps in every]


def _networks(cell: Trained, state: Any, world: Any) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """Return the functions (state, key) -> embedding of an observation, and (embedding, condition) -> a later one."""
    encoder, predictor = cell.networks["encoder"], cell.networks["predictor"]
    params = state
    for name in weights_path(cell.config):
        params = params[name]

    def encode(s: Array, key: Array) -> Array:
        return encoder.apply(params, cartpole.observe(s) + world.noise * jax.random.normal(key, world.shape))

    def ahead(z: Array, condition: Array) -> Array:
        found = predictor.apply(state["params"]["predictor"], jnp.concatenate([z, condition]))
        return found / jnp.linalg.norm(found) if cell.config.encoder.output == "sphere" else found

    return encode, ahead


def actor(z: np.ndarray, wanted: np.ndarray) -> Callable[[Array], Array] | None:
    """Fit a small MLP that reads a command from an embedding.

    Args:
      z: Embeddings of observations and predicted ones, [N, K].
      wanted: Commands of the regulator at their states, [N].

    Returns:
      Function of one embedding [K], which can be traced; None if an embedding is not finite.
    """
    if not np.isfinite(z).all():
        return None
    z, wanted = z.astype(np.float32), wanted.astype(np.float32)
    mean, scale, unit = z.mean(axis=0), z.std(axis=0), wanted.std()
    scale[scale == 0] = 1
    rows, numbers = jnp.asarray((z - mean) / scale, jnp.float32), jnp.asarray(wanted / unit, jnp.float32)
    network = build_mlp((z.shape[1], *ACTOR_WIDTHS, 1))
    start = network.init(jax.random.key(0))
    optimiser = optax.adam(optax.cosine_decay_schedule(ACTOR_RATE, ACTOR_STEPS))

    def error(weights: Any, some: Array) -> Array:
        return jnp.mean((jax.vmap(network.apply, (None, 0))(weights, rows[some])[:, 0] - numbers[some]) ** 2)

    def step(state: Any, key: Array) -> tuple[Any, None]:
        weights, moments = state
        slope = jax.grad(error)(weights, jax.random.randint(key, (ACTOR_BATCH,), 0, len(rows)))
        update, moments = optimiser.update(slope, moments)
        return (optax.apply_updates(weights, update), moments), None

    keys = jax.random.split(jax.random.key(0), ACTOR_STEPS)
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes dtypes, which strict promotion does not allow
        (weights, _), _ = jax.jit(partial(jax.lax.scan, step))((start, optimiser.init(start)), keys)
    return lambda z: network.apply(weights, (z - mean) / scale)[0] * unit
