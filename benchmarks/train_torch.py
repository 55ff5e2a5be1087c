"""Toy training against an eager PyTorch loop of the same model, batch, loss and optimiser, on the same cores.

Both generate their batch inside the loop, take one step of AdamW with warm-up and cosine decay, and compute in float32.
They take turns in one process after a warm-up. The ratio is the result, because the rates depend on the machine.
PyTorch runs on one thread or on all cores, whichever is faster. (Its fused AdamW was tried too, and differs by about
10 %.) Before the timing, both are trained on the same views from the same weights, and their losses are compared.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.part import Part, in_turns, spelled, spread
from jepa_jax.config import MLP, Config, Data, Optim
from jepa_jax.data import Source, open_source
from jepa_jax.resolve import resolve
from jepa_jax.training.step import Trainer, make_trainer, views_of

CHECKED_STEPS = 20  # steps over which the losses are compared
TOLERANCE = 1e-4  # largest absolute difference of losses


@dataclass(frozen=True)
class Case:
    """Model and batch size, and the goal for them.

    Attributes:
      batch: Batch size.
      width: Width of the three hidden layers.
      bar: Goal: ratio of our steps per second to PyTorch's.
    """

    batch: int
    width: int
    bar: float

    @property
    def config(self) -> Config:
        """Config of the run: uniformity on the sphere in 16 dimensions, on eight Gaussians in the plane."""
        encoder = MLP(widths=(self.width,) * 3, dim=16)
        return Config(data=Data("mixture_2d", self.batch), encoder=encoder, optim=Optim(weight_decay=1e-4))


CASES = (Case(128, 64, 8.0), Case(512, 256, 2.5))


def against_torch(steps: int, repeats: int) -> Part:
    """Time both cases, with `repeats` repetitions of `steps` steps."""
    rows = [measure(case, steps, repeats) for case in CASES]
    lines = [
        [
            f"{row['batch']}, {row['width']}",
            f"{row['steps_per_second']['ours']['median']:.0f}",
            f"{row['steps_per_second']['torch']['median']:.0f}",
            str(row["torch_threads"]),
            spelled(row["ratio"], ".1f"),
            f"at least {row['bar']:g}",
            f"{row[f'loss_difference_{CHECKED_STEPS}_steps']:.1e}",
        ]
        for row in rows
    ]
    remarks = [
        f"batch {row['batch']}: the losses differ by {row['loss_difference_first_step']:.1e} at the first step, and by "
        f"at most {row[f'loss_difference_{CHECKED_STEPS}_steps']:.1e} over {CHECKED_STEPS} steps "
        f"(tolerance: {TOLERANCE:g})"
        for row in rows
    ]
    text = f"""Steps per second, median of {repeats} repetitions of {steps} steps, in turns in one process.
The ratio (minimum to maximum) is taken in each repetition. PyTorch runs on one thread or on all cores, whichever is
faster. The difference of losses is the largest over {CHECKED_STEPS} steps from the same weights on the same views."""
    header = ["batch, width", "ours/s", "PyTorch/s", "threads", "ratio", "goal", "loss difference"]
    title = "Toy training, ours against eager PyTorch"
    return Part(title, text, header, lines, remarks, rows, all(row["losses_agree"] for row in rows))


def measure(case: Case, steps: int, repeats: int) -> dict[str, Any]:
    """Compare the losses of a case, then time it; return its row for JSON."""
    from benchmarks.torch_peer import Peer

    source = open_source(case.config.data)
    config = resolve(case.config, source)
    differences = loss_differences(config, source)
    peer = Peer(config, initial_params(config, source))
    threads = peer.choose_threads()
    mine = ours(make_trainer(config, source), source, steps)
    seconds = in_turns({"ours": mine, "torch": peer.runner(steps)}, repeats)
    ratios = seconds["torch"] / seconds["ours"]
    return {
        "batch": case.batch,
        "width": case.width,
        "torch_threads": threads,
        "steps_per_second": {name: spread(steps / values) for name, values in seconds.items()},
        "ratio": spread(ratios),
        "bar": case.bar,
        "reached": bool(np.median(ratios) >= case.bar),
        "loss_difference_first_step": float(differences[0]),
        f"loss_difference_{CHECKED_STEPS}_steps": float(differences.max()),
        "losses_agree": bool(differences.max() < TOLERANCE),
    }


def ours(trainer: Trainer, source: Source, steps: int) -> Callable[[], None]:
    """Return a function that takes `steps` steps in one dispatch and waits for the device."""
    carried = [trainer.init()]

    def take_steps() -> None:
        carried[0], rows = trainer.run(carried[0], source.arrays, 0, steps)
        jax.block_until_ready((carried[0], rows))

    return take_steps


def initial_params(config: Config, source: Source) -> Any:
    """Return the initial weights of our encoder."""
    return jax.device_get(make_trainer(config, source).init()["params"]["encoder"])


def pair_of(views: Any, key: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
    """Return two fixed views [2, B, ...] as samples with partners, and a key for each sample."""
    return {"x": views[0], "pair": views[1]}, jax.random.split(key, views.shape[1])


def loss_differences(config: Config, source: Source) -> np.ndarray:
    """Return the absolute differences [steps] of our losses from PyTorch's, with equal initial weights and views."""
    from benchmarks.torch_peer import Peer

    views = jax.jit(views_of(config, source))(source.arrays, jax.random.key(1))[0]
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, warmup_steps=CHECKED_STEPS // 2))
    fixed = dataclasses.replace(source, world=None, noise=0.0, draw=pair_of, arrays=views)
    trainer = make_trainer(config, fixed)
    peer = Peer(config, initial_params(config, fixed))
    _, rows = trainer.run(trainer.init(), jnp.asarray(views), 0, CHECKED_STEPS)
    theirs = [peer.step(np.asarray(views)) for _ in range(CHECKED_STEPS)]
    return np.abs(np.asarray(rows)[:CHECKED_STEPS, 0] - np.array(theirs))
