"""The toy run as an eager PyTorch loop, as a PyTorch user would write it."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import cores
from jepa_jax.config import Config
from jepa_jax.worlds.mixture import COMPONENTS, RADIUS

WEIGHT, TEMPERATURE = 0.3, 2.0  # our defaults for uniformity
NOISE_SCALE = 0.1  # standard deviation of each view's noise, as in the world


class Peer:
    """Model, optimiser, schedule and sampler of a resolved config on mixture_2d with uniformity."""

    def __init__(self, config: Config, params: Any) -> None:
        self.batch = config.data.batch_size
        self.mean, self.scale = (torch.tensor(params["input"][name]) for name in ("mean", "scale"))
        self.network = network(params["network"]["network"])
        optim, steps = config.optim, config.steps
        self.optimizer = torch.optim.AdamW(groups(self.network, optim.weight_decay), lr=optim.lr)
        warmup = min(optim.warmup_steps, steps // 2)

        def rate(step: int) -> float:
            if step < warmup:
                return step / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (steps - warmup))))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)
        self.centres, self.widths, self.weights = mixture()

    def choose_threads(self, steps: int = 20) -> int:
        """Set and return the faster number of threads: one, or one per core.

        Small matrices gain nothing from a second thread, and on a busy machine its barriers can make it a hundred times
        slower.

        Args:
          steps: Number of steps that are timed with each number of threads.
        """
        seconds = {}
        for threads in {1, cores()}:
            torch.set_num_threads(threads)
            self.runner(3)()
            started = time.perf_counter()
            self.runner(steps)()
            seconds[threads] = time.perf_counter() - started
        best = min(seconds, key=lambda threads: seconds[threads])
        torch.set_num_threads(best)
        return best

    def runner(self, steps: int) -> Callable[[], None]:
        """Return a function that takes `steps` steps on fresh views."""

        def take_steps() -> None:
            for _ in range(steps):
                self.take(*self.views())

        return take_steps

    def step(self, views: np.ndarray) -> float:
        """Take one step on given views [2, B, D] and return the loss before it."""
        a, b = torch.tensor(views)
        return self.take(a, b).item()

    def views(self) -> tuple[Tensor, Tensor]:
        """Return two noisy views of fresh samples, [B, 2] each."""
        c = torch.multinomial(self.weights, self.batch, replacement=True)
        x = self.centres[c] + self.widths[c, None] * torch.randn(self.batch, 2)
        return x + NOISE_SCALE * torch.randn_like(x), x + NOISE_SCALE * torch.randn_like(x)

    def take(self, a: Tensor, b: Tensor) -> Tensor:
        """Take one step on two views [B, 2] and return the loss before it."""
        za, zb = self.embed(torch.cat([a, b])).chunk(2)
        prediction = (za - zb).square().sum(dim=1).mean()
        loss = prediction + WEIGHT * 0.5 * (uniformity(za) + uniformity(zb))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def embed(self, x: Tensor) -> Tensor:
        """Return the embeddings [B, K] on the sphere of samples [B, D]."""
        return nn.functional.normalize(self.network((x - self.mean) / self.scale), dim=1)


def uniformity(z: Tensor) -> Tensor:
    """Return log E exp(-t |z_i - z_j|^2) over pairs i != j of embeddings [B, K].

    This is the code that its authors publish; it is faster than a masked matrix product.
    """
    return torch.pdist(z).pow(2).mul(-TEMPERATURE).exp().mean().log()


def network(layers: dict[str, Any]) -> nn.Sequential:
    """Return a PyTorch MLP with our weights and the tanh approximation of GELU that jax.nn.gelu uses."""
    modules: list[nn.Module] = []
    for i in range(len(layers)):
        kernel, bias = (np.asarray(layers[f"dense_{i}"][name]) for name in ("kernel", "bias"))
        linear = nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(kernel.T))
            linear.bias.copy_(torch.tensor(bias))
        modules += [linear, nn.GELU(approximate="tanh")]
    return nn.Sequential(*modules[:-1])


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups with weight decay for matrices only, not for biases."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def mixture() -> tuple[Tensor, Tensor, Tensor]:
    """Return centres [8, 2], widths [8] and weights [8] of eight Gaussians on a circle, as in mixture_2d."""
    angle = 2 * torch.pi * torch.arange(COMPONENTS) / COMPONENTS
    centres = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centres, torch.logspace(math.log10(0.35), math.log10(0.9), COMPONENTS), torch.linspace(1, 3, COMPONENTS)
