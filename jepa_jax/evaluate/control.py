"""Closed-loop control of a plant whose state reaches the controller only now and then."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def share_kept(
    *,
    move: Callable[[Array, Array, Array], Array],
    sense: Callable[[Array, Array], Array],
    act: Callable[[Array], Array],
    predict: Callable[[Array, Array], Array],
    kept: Callable[[Array], Array],
    start: Array,
    key: Array,
    every: int,
    runs: int = 200,
    steps: int = 500,
) -> float:
    """Return the share of runs that stay within bounds if the controller sees each `every`-th state.

    Between messages the controller acts on what it predicts. Girgis et al., "TS-JEPA: predictive remote control", arXiv
    2406.04853.

    Args:
      move: Function (state, command, key) -> the next state.
      sense: Function (state, key) -> the message, such as an embedding of an observation.
      act: Function message -> command.
      predict: Function (message, command) -> the predicted next message.
      kept: Function state -> whether it is within bounds.
      start: State at the start.
      key: Key of all runs.
      every: Steps between messages; 1 sends all.
      runs: Number of runs.
      steps: Steps of a run.

    Raises:
      ValueError: If `every`, `runs` or `steps` is below 1.
    """
    if min(every, runs, steps) < 1:
        raise ValueError(f"every {every}, runs {runs} and steps {steps} must be at least 1")

    def one(key: Array) -> Array:
        def tick(carry: Any, number: Array) -> tuple[Any, Array]:
            state, believed, key = carry
            key, sensing, moving = jax.random.split(key, 3)
            believed = jax.lax.cond(number % every == 0, lambda: sense(state, sensing), lambda: believed)
            command = act(believed)
            state = move(state, command, moving)
            return (state, predict(believed, command), key), kept(state)

        first = sense(start, key)
        return jnp.all(jax.lax.scan(tick, (start, first, key), jnp.arange(steps))[1])

    return float(jnp.mean(jax.jit(jax.vmap(one))(jax.random.split(key, runs)).astype(jnp.float32)))
