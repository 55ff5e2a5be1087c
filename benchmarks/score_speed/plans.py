"""Ways in which a PyTorch contestant computes Jacobians, and the choice of the fastest."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.listing import Model, func_jacobian, listing_jacobian
from benchmarks.report import cores, one_line
from benchmarks.score_speed.cases import SINGLE

TRIAL_OUTPUTS = 4  # outputs on which a setting of the listing is tried
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Plan:
    """Method that computes Jacobians, with its settings.

    Attributes:
      jacobian: Function of a model and samples [B, ...] that returns Jacobians [B, K, D].
      batch: Number of samples at once.
      trial: Number of outputs on which the plan is tried.
      about: Settings as text.
    """

    jacobian: Callable[[Model, Tensor], Tensor]
    batch: int
    trial: int
    about: str


def plans(name: str, case: dict[str, Any]) -> list[Plan]:
    """Return the plans from which a contestant chooses the fastest."""
    toy = case["vit"] is None
    if name == SINGLE:
        return [Plan(listing_jacobian, 1, TRIAL_OUTPUTS, "batch 1")]
    if name.startswith("listing"):
        return [Plan(listing_jacobian, b, case["dim"] if toy else TRIAL_OUTPUTS, f"batch {b}") for b in case["batches"]]
    if toy:
        jacobian = partial(func_jacobian, chunk=case["dim"], together=True)
        return [Plan(jacobian, b, case["dim"], f"batch {b}") for b in case["batches"]]
    chunks = [chunk for chunk in case["chunks"][DEVICE] if chunk <= case["dim"]] or [case["dim"]]
    found = [Plan(partial(func_jacobian, chunk=c, together=False), 1, c, f"chunk {c}") for c in chunks]
    fused = partial(func_jacobian, chunk=chunks[0], together=False, plain=False)
    return [*found, Plan(fused, 1, chunks[0], f"chunk {chunks[0]}, fused attention")]


def choose(candidates: list[Plan], model: Model, images: Tensor) -> tuple[Plan, float]:
    """Return the fastest plan and its seconds per output and sample, and set the best number of threads.

    The number of threads, one or one per core, is the faster one for the first plan. Small matrices gain nothing from a
    second thread, and on a busy machine its barriers can make it a hundred times slower.
    """
    threads = torch.get_num_threads()
    if DEVICE == "cpu" and cores() > 1:
        seconds = {}
        for threads in (1, cores()):
            torch.set_num_threads(threads)
            seconds[threads] = min(seconds_per_output(candidates[0], model, images) for _ in range(2))
        threads = min(seconds, key=lambda threads: seconds[threads])
        torch.set_num_threads(threads)
    else:
        seconds_per_output(candidates[0], model, images)  # warm-up of the device
    each = [seconds_per_output(plan, model, images) for plan in candidates]
    best = int(np.argmin(each))
    return replace(candidates[best], about=f"{candidates[best].about}, {threads} threads"), each[best]


def compiled(plan: Plan, model: nn.Module, images: Tensor) -> Plan:
    """Return the plan through torch.compile, in the first form that compiles.

    Raises:
      RuntimeError: No form compiles.
    """
    import torch._functorch.config

    torch._functorch.config.donated_buffer = False  # the listing keeps its graph for all K backward passes
    static: Any = torch.compile(model)
    attempts = [
        plan,
        replace(plan, jacobian=lambda _, x: listing_jacobian(static, x), about=f"model only, {plan.about}"),
    ]
    if isinstance(plan.jacobian, partial):
        attempts[0] = replace(plan, jacobian=partial(plan.jacobian, compiled=True))
    reasons = []
    for attempt in attempts:
        try:
            attempt.jacobian(model, cycled(images, plan.batch))
            wait()
            return attempt
        except Exception as error:  # the compiler may raise any exception
            reasons.append(one_line(error))
    raise RuntimeError("does not compile: " + "; ".join(reasons))


def seconds_per_output(plan: Plan, model: Model, images: Tensor, outputs: int | None = None) -> float:
    """Return the seconds per output and sample of a plan, without the singular values.

    Args:
      plan: Plan to time.
      model: Model [B, ...] -> [B, K].
      images: Samples; they are repeated or cut to one batch of the plan.
      outputs: Number of outputs to compute. None: `plan.trial`.

    Returns:
      Seconds; infinity if memory does not suffice.
    """
    outputs = outputs or plan.trial
    images = cycled(images, plan.batch)
    started = time.perf_counter()
    try:
        plan.jacobian(first_outputs(model, outputs), images)
        wait()
    except torch.OutOfMemoryError:
        return float("inf")
    return (time.perf_counter() - started) / outputs / plan.batch


def first_outputs(model: Model, outputs: int) -> Model:
    """Return a model that computes only the first outputs."""
    return lambda x: model(x)[:, :outputs]


def cycled(images: Tensor, count: int) -> Tensor:
    """Return `count` images, repeated where there are fewer."""
    return images[torch.arange(count, device=images.device) % len(images)]


def wait() -> None:
    """Wait until the device has finished its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
