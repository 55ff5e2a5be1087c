"""Our compiled step against a short step that is written by hand with jit, value_and_grad and optax.

Both have the same network, views, losses, optimiser, keys and initial weights, so their losses must agree. The minimal
step is called in a Python loop, as is usual in code written by hand. Ours takes its steps in two ways: many in one
dispatch, as `train` does on arrays, and one by one, as it does on a stream.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from benchmarks.part import Part, in_turns, spelled, spread
from benchmarks.train_torch import ours
from jepa_jax import objectives
from jepa_jax.config import MLP, Config, Crops, Data, Multiview, Objective, Optim, ViT
from jepa_jax.data import Source, open_source
from jepa_jax.models import build
from jepa_jax.resolve import resolve
from jepa_jax.training.step import Trainer, make_trainer, views_of

MAX_TIME_RATIO = 1.15  # goal: our time relative to the minimal step's
CHECKED_STEPS = 10  # steps over which the losses are compared
TOLERANCE = 1e-4  # largest relative difference of losses
DISPATCH_WAYS = ("one dispatch", "one by one")  # ways of taking our steps
VIT_DIVISOR = 10  # a ViT takes this many times fewer steps

OPTIM = Optim(warmup_steps=5, weight_decay=1e-4)
CASES = {
    "MLP, mixture_2d": Config(data=Data("mixture_2d", 256), encoder=MLP(widths=(128,) * 3, dim=16), optim=OPTIM),
    "ViT LeJEPA, digits": Config(
        data=Data("digits", 64),
        views=Crops(
            local_views=2,
            global_scale=(0.8, 1.0),
            local_scale=(0.5, 0.8),
            flip=0.0,
            jitter=0.0,
            grey=0.0,
            noise=0.05,
            local_size=4,
        ),
        encoder=ViT(patch_size=2, width=48, depth=2, heads=3, dim=16),
        recipe=Multiview(),
        objective=Objective(anti_collapse="sigreg", weight=0.1),
        optim=OPTIM,
    ),
}

State = tuple[Any, Any]  # weights and optimiser state


class Minimal(NamedTuple):
    """Training step that is written by hand, and its pieces.

    Attributes:
      start: Function weights -> state.
      step: Function (state, arrays, number) -> (state, loss). The state is donated.
      views: Function (arrays, key) -> views of a batch.
      loss: Function (weights, views, key) -> loss.
      update: Function (gradients, state) -> state.
    """

    start: Callable[[Any], State]
    step: Callable[[State, Any, int], tuple[State, Array]]
    views: Callable[[Any, Array], tuple[Array, ...]]
    loss: Callable[[Any, tuple[Array, ...], Array], Array]
    update: Callable[[Any, State], State]


def minimal(config: Config, source: Source) -> Minimal:
    """Return the minimal step of a resolved config.

    **Not supported:** EMA weights, a predictor, a projector, and recipes other than `pair` and `multiview`.
    """
    o, optim = config.objective, config.optim
    apply = jax.vmap(build(config.encoder, source.shape, config.encoder.output).apply, (None, 0))
    make_views = views_of(config, source)
    regulariser = objectives.build(o.anti_collapse, weight=o.weight, temperature=o.temperature, num_slices=o.num_slices)
    rate = optax.warmup_cosine_decay_schedule(0.0, optim.lr, optim.warmup_steps, config.steps)

    def kernels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    optimizer = optax.adamw(rate, weight_decay=optim.weight_decay, mask=kernels)

    def loss(params: Any, views: tuple[Array, ...], key: Array) -> Array:
        flat = [apply(params, group.reshape(-1, *group.shape[2:])) for group in views]
        z = jnp.concatenate([e.reshape(*group.shape[:2], -1) for e, group in zip(flat, views, strict=True)])
        target = z[::-1] if config.recipe.kind == "pair" else z[: len(views[0])].mean(axis=0, keepdims=True)
        prediction = jnp.mean(jnp.sum((z - target) ** 2, axis=-1))
        return prediction + regulariser.weight * regulariser.term(z, key)

    def update(grads: Any, state: State) -> State:
        params, kept = state
        updates, kept = optimizer.update(grads, kept, params)
        return optax.apply_updates(params, updates), kept

    def step(state: State, arrays: Any, number: int) -> tuple[State, Array]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number))
        value, grads = jax.value_and_grad(loss)(state[0], make_views(arrays, data_key), loss_key)
        return update(grads, state), value

    return Minimal(
        lambda params: (params, optimizer.init(params)), jax.jit(step, donate_argnums=0), make_views, loss, update
    )


def against_minimal(steps: int, repeats: int) -> Part:
    """Time all cases, with `repeats` repetitions of `steps` steps."""
    rows = [measure(name, config, steps, repeats) for name, config in CASES.items()]
    lines = [
        [
            row["case"],
            *(f"{row['steps_per_second'][who]['median']:.1f}" for who in (*DISPATCH_WAYS, "minimal")),
            *(spelled(row["ratio"][way], ".2f") for way in DISPATCH_WAYS),
            f"at most {MAX_TIME_RATIO:g}",
            f"{row['loss_difference']:.1e}",
        ]
        for row in rows
    ]
    remarks = [
        f"{row['case']}: the losses differ by more than the tolerance of {TOLERANCE:g}"
        for row in rows
        if not row["losses_agree"]
    ]
    text = f"""Steps per second, median of {repeats} repetitions of {steps} steps (a ViT: {steps_of_vit(steps)}), in
turns in one process after a warm-up. Ours takes them in one dispatch, and one by one as the minimal step does. A ratio
(minimum to maximum) is our time divided by the minimal step's in each repetition; the goal is for both ratios. The
difference of losses is the largest relative one over {CHECKED_STEPS} steps from the same weights with the same keys."""
    rates = [f"{who}/s" for who in (*DISPATCH_WAYS, "minimal")]
    header = ["case", *rates, *(f"time ratio, {way}" for way in DISPATCH_WAYS), "goal", "loss difference"]
    title = "Our step against a minimal one in JAX"
    return Part(title, text, header, lines, remarks, rows, all(row["losses_agree"] for row in rows))


def steps_of_vit(steps: int) -> int:
    """Return the number of steps of a ViT where an MLP takes `steps` steps."""
    return max(1, steps // VIT_DIVISOR)


def measure(name: str, config: Config, steps: int, repeats: int) -> dict[str, Any]:
    """Compare the losses of a case, then time it; return its row for JSON."""
    source = open_source(config.data)
    config = resolve(config, source)
    steps = steps_of_vit(steps) if config.encoder.kind == "vit" else steps
    trainer, hand = make_trainer(config, source), minimal(config, source)
    mine, theirs = losses(trainer, hand, source.arrays, CHECKED_STEPS)
    apart = float(np.max(np.abs(mine - theirs) / np.abs(mine)))
    contestants = {
        "one dispatch": ours(trainer, source, steps),
        "one by one": one_by_one(trainer, source.arrays, steps),
        "minimal": by_hand(trainer, hand, source.arrays, steps),
    }
    seconds = in_turns(contestants, repeats)
    ratios = {way: spread(seconds[way] / seconds["minimal"]) for way in DISPATCH_WAYS}
    return {
        "case": name,
        "steps": steps,
        "steps_per_second": {who: spread(steps / values) for who, values in seconds.items()},
        "ratio": ratios,
        "bar": MAX_TIME_RATIO,
        "reached": all(ratio["median"] <= MAX_TIME_RATIO for ratio in ratios.values()),
        "loss_difference": apart,
        "losses_agree": apart < TOLERANCE,
    }


def one_by_one(trainer: Trainer, arrays: Any, steps: int) -> Callable[[], None]:
    """Return a function that takes our steps, each in its own dispatch, and waits for the device."""
    carried = [trainer.init()]

    def take_steps() -> None:
        for number in range(steps):
            carried[0], _ = trainer.run(carried[0], arrays, number, number + 1)
        jax.block_until_ready(carried[0])

    return take_steps


def by_hand(trainer: Trainer, hand: Minimal, arrays: Any, steps: int) -> Callable[[], None]:
    """Return a function that takes minimal steps one by one, from our initial weights, and waits for the device."""
    carried = [hand.start(trainer.init()["params"]["encoder"])]

    def take_steps() -> None:
        for number in range(1, steps + 1):
            carried[0], _ = hand.step(carried[0], arrays, number)
        jax.block_until_ready(carried[0])

    return take_steps


def losses(trainer: Trainer, hand: Minimal, arrays: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return our losses and those of the minimal step, [steps] each, from the same weights."""
    state, theirs = hand.start(trainer.init()["params"]["encoder"]), []
    for number in range(1, steps + 1):
        state, loss = hand.step(state, arrays, number)
        theirs.append(float(loss))
    _, rows = trainer.run(trainer.init(), arrays, 0, steps)
    return np.asarray(rows)[:steps, 0], np.array(theirs)
