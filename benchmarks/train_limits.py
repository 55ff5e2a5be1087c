"""Where the time of a training step goes, and how little it could take with these networks on these cores.

The pieces are those of the step that is written by hand: drawing the views, the loss, the loss with its gradient, the
update of the optimiser. Each is repeated in one compiled loop, as our steps are in one dispatch, and a repetition
depends on the one before it, so that the compiler cannot take it out of the loop. The loss with its gradient is a
limit: no loop around it can be faster. Where PyTorch is installed, its step divided by that limit is the largest ratio
that can be reached with the operations that XLA makes of the network.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks import train_minimal, train_torch
from benchmarks.part import Part, in_turns, spread
from benchmarks.train_minimal import Minimal, minimal, steps_of_vit
from benchmarks.train_torch import ours
from jepa_jax.config import Config
from jepa_jax.data import Source, open_source
from jepa_jax.resolve import resolve
from jepa_jax.training.step import make_trainer

PIECES = ("views", "loss", "loss and gradient", "optimiser", "our step", "PyTorch's step")
BARELY = 1e-6  # by this the samples of a repetition are scaled with the loss of the one before


def cases() -> dict[str, Config]:
    """Return the configs of the comparisons with PyTorch and with the minimal step, by name."""
    toys = {f"batch {case.batch}, width {case.width}": case.config for case in train_torch.CASES}
    return toys | train_minimal.CASES


def limits(steps: int, repeats: int) -> Part:
    """Time the pieces of all cases, with `repeats` repetitions of `steps` steps."""
    rows = [measure(name, config, steps, repeats) for name, config in cases().items()]
    lines = [
        [
            row["case"],
            *(
                f"{row['microseconds'][piece]['median']:.0f}" if piece in row["microseconds"] else "-"
                for piece in PIECES
            ),
            *(f"{row[name]:.2f}" if name in row else "-" for name in ("of_limit", "largest_ratio")),
        ]
        for row in rows
    ]
    text = f"""Microseconds of each piece of a step, repeated in one compiled loop; median of {repeats} repetitions of
{steps} steps (a ViT: {steps_of_vit(steps)}), in turns in one process after a warm-up. The loss with its gradient is
a limit for any loop around it: the last columns are our step relative to it, and PyTorch's step relative to it, the
largest ratio to PyTorch that is possible with the operations that XLA makes of these networks."""
    header = ["case", *(f"{piece}, us" for piece in PIECES), "ours / limit", "PyTorch / limit"]
    return Part("The limit of a step", text, header, lines, [], rows)


def measure(name: str, config: Config, steps: int, repeats: int) -> dict[str, Any]:
    """Time the pieces of a case; return its row for JSON."""
    source = open_source(config.data)
    config = resolve(config, source)
    steps = steps_of_vit(steps) if config.encoder.kind == "vit" else steps
    trainer = make_trainer(config, source)
    weights = trainer.init()["params"]["encoder"]
    contestants = pieces(minimal(config, source), source, weights, steps)
    contestants["our step"] = ours(trainer, source, steps)
    if name not in train_minimal.CASES and importlib.util.find_spec("torch") is not None:
        from benchmarks.torch_peer import Peer

        peer = Peer(config, jax.device_get(weights))
        peer.choose_threads()
        contestants["PyTorch's step"] = peer.runner(steps)
    seconds = in_turns(contestants, repeats)
    times = {piece: spread(values / steps * 1e6) for piece, values in seconds.items()}
    limit = times["loss and gradient"]["median"]
    row = {"case": name, "steps": steps, "microseconds": times, "of_limit": times["our step"]["median"] / limit}
    if "PyTorch's step" in times:
        row["largest_ratio"] = times["PyTorch's step"]["median"] / limit
    return row


def pieces(hand: Minimal, source: Source, weights: Any, steps: int) -> dict[str, Callable[[], None]]:
    """Return functions that repeat each piece `steps` times in one dispatch, and wait for the device."""
    views = jax.jit(hand.views)(source.arrays, jax.random.key(0))
    gradients = jax.tree.map(jnp.ones_like, weights)

    def draw(found: Array, number: Array) -> Array:
        drawn = hand.views(source.arrays, jax.random.fold_in(jax.random.key(0), number))
        return found + sum(jnp.sum(group[0, 0]) for group in drawn)

    def nearly(found: Array) -> tuple[Array, ...]:
        return jax.tree.map(lambda group: group * (1 + BARELY * found), views)

    def loss(found: Array, number: Array) -> Array:
        return hand.loss(weights, nearly(found), jax.random.key(0))

    def gradient(found: tuple[Array, Any], number: Array) -> tuple[Array, Any]:
        return jax.value_and_grad(hand.loss)(weights, nearly(found[0]), jax.random.key(0))

    def update(state: Any, number: Array) -> Any:
        return hand.update(gradients, state)

    zero = jnp.zeros(())
    return {
        "views": _repeated(draw, zero, steps),
        "loss": _repeated(loss, zero, steps),
        "loss and gradient": _repeated(gradient, (zero, gradients), steps),
        "optimiser": _repeated(update, hand.start(weights), steps),
    }


def _repeated(body: Callable[[Any, Array], Any], start: Any, steps: int) -> Callable[[], None]:
    loop = jax.jit(lambda carry: jax.lax.fori_loop(0, steps, lambda i, carry: body(carry, i), carry))
    return lambda: jax.block_until_ready(loop(start))
