"""Training of one cell, and embeddings of its encoder before and after."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jepa_jax.config import Config
from jepa_jax.data import Samples, Source, open_source
from jepa_jax.data.registry import open_dataset
from jepa_jax.encoder import Encoder
from jepa_jax.models import Model
from jepa_jax.recipes import build_networks
from jepa_jax.resolve import resolve
from jepa_jax.training import STEPS_PER_DISPATCH, make_trainer
from jepa_jax.worlds import WORLDS

EMBEDDED_AT_ONCE = 512
TRAIN_SEED, TEST_SEED = 11, 12  # of samples of a world that classifiers are fitted and judged on
TRAINED_ON, JUDGED_ON = 4000, 2000  # samples for these at most


@dataclass(frozen=True)
class Trained:
    """Networks of a run with their weights before and after training.

    Attributes:
      config: Resolved config.
      source: Data of the run.
      networks: Networks by name.
      before: State before the first step.
      after: State after the last step.
      encoders: Encoders that are judged, untrained and trained.
      seconds: Duration of the training.
      travelled: Change of the encoder's weights divided by their norm at the start.
    """

    config: Config
    source: Source
    networks: dict[str, Model]
    before: Any
    after: Any
    encoders: tuple[Encoder, Encoder]
    seconds: float
    travelled: float


def trained(config: Config, seed: int) -> Trained:
    """Train a config with a seed."""
    config = dataclasses.replace(config, seed=seed)
    source = open_source(config.data, seed)
    config = resolve(config, source)
    trainer = make_trainer(config, source)
    before = trainer.init()
    state, started = jax.tree.map(jnp.copy, before), time.perf_counter()
    for step in range(0, config.steps, STEPS_PER_DISPATCH):
        state, rows = trainer.run(state, source.arrays, step, min(step + STEPS_PER_DISPATCH, config.steps))
        if not np.isfinite(np.asarray(rows)).all():
            raise FloatingPointError(
                f"{config.data.source}: the loss is not finite by step {step + STEPS_PER_DISPATCH}"
            )
    first, last = trainer.encoder(before), trainer.encoder(state)
    start, end = (ravel_pytree(one.params["network"])[0] for one in (first, last))  # without constants of the data
    travelled = float(jnp.linalg.norm(end - start) / jnp.linalg.norm(start))
    networks = build_networks(config, source.shape)
    seconds = time.perf_counter() - started
    return Trained(config, source, networks, before, state, (first, last), seconds, travelled)


def labelled(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return samples and labels on which a probe is fitted, and others on which it is judged.

    Of real data the second are those that are held out by name: other people, pieces or halves.
    """
    if name in WORLDS:
        world = WORLDS[name]()
        assert world.label is not None
        found = []
        for seed, count in ((TRAIN_SEED, TRAINED_ON), (TEST_SEED, JUDGED_ON)):
            x, states = jax.jit(world.sample, static_argnums=1)(jax.random.key(seed), count)
            found += [np.asarray(x), np.asarray(jax.vmap(world.label)(states))]
        return found[0], found[1], found[2], found[3]
    samples = open_dataset(name)
    assert isinstance(samples, Samples)
    assert samples.held_out is not None
    label, random, found = samples.numbered_label, np.random.default_rng(0), []
    assert label is not None
    for rows, count in ((np.flatnonzero(~samples.held_out), TRAINED_ON), (np.flatnonzero(samples.held_out), JUDGED_ON)):
        chosen = np.sort(random.permutation(rows)[:count])
        found += [np.asarray(samples.x[chosen]), label[chosen]]
    return found[0], found[1], found[2], found[3]


def embedded(encoder: Encoder, x: np.ndarray) -> np.ndarray:
    """Return the embeddings [N, K] of samples [N, ...], computed in batches."""
    apply = jax.jit(jax.vmap(encoder))
    starts = range(0, len(x), EMBEDDED_AT_ONCE)
    padded = np.resize(x, (len(starts) * EMBEDDED_AT_ONCE, *x.shape[1:]))
    return np.concatenate([np.asarray(apply(padded[i : i + EMBEDDED_AT_ONCE])) for i in starts])[: len(x)]
