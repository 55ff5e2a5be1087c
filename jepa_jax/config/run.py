"""A run: its objective, its optimiser, what is evaluated and kept, its devices, and all sections together."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive
from jepa_jax.config.data import Data, Noise, Views
from jepa_jax.config.encoders import MLP, Encoder
from jepa_jax.config.recipes import Pair, Recipe

AntiCollapse = Literal["uniformity", "infonce", "koleo", "sigreg", "vicreg", "barlow", "coding_rate", "none"]


@dataclass(frozen=True)
class Objective:
    """loss = prediction + weight * anti_collapse"""

    anti_collapse: AntiCollapse = "uniformity"
    """The term that keeps samples apart; `none` collapses on purpose, as a control."""
    weight: float | None = None
    """Weight of the anti-collapse term. None: the term's own default."""
    temperature: float | None = None
    """Scale of the kernel in `uniformity` (t, default 2) and `infonce` (tau, default 0.2)."""
    num_slices: int = 256
    """Random directions per step in `sigreg`."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*at_least(self, 0, "weight"), *positive(self, "temperature"), *at_least(self, 1, "num_slices")]
        check("objective.", self, *rules)


@dataclass(frozen=True)
class Optim:
    """AdamW with warm-up and cosine decay."""

    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 100
    """Steps over which the rate rises from 0; it then falls to 0 along a cosine."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip_norm: float | None = None
    """Largest global norm of the gradient. None: no clipping."""
    ema: float = 0.0
    """Decay of the moving average of the weights that is scored and saved as the encoder; 0 takes the raw weights."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Type the networks compute in while they train. Weights, statistics and losses are float32 either way, and so is
    the score."""
    accumulate: int = 1
    """Parts in which a batch goes through the networks, one after the other, to save memory. The losses are still
    over the whole batch and the gradient is the same; the forward pass runs twice."""
    remat: bool = False
    """Compute activations a second time in the backward pass (of a `vit`: each block's) instead of keeping them."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*positive(self, "lr", "clip_norm"), *at_least(self, 0, "warmup_steps", "weight_decay")]
        check("optim.", self, *rules, *fractions(self, "ema"), *at_least(self, 1, "accumulate"))


@dataclass(frozen=True)
class Monitor:
    """What is evaluated while training goes on."""

    every: int = 500
    """Steps between evaluations of the learned density; 0 evaluates at the end only."""
    probes: int = 2048
    """Samples in the fixed probe set that is scored."""
    eps: float = 1e-6
    """Singular values at or below this count as clipped."""
    log_every: int = 100
    """Steps between lines in metrics.jsonl."""
    figures: bool = True
    """Draw pictures at monitor steps and at the end."""
    against: tuple[Literal["inverted", "rotated", "noise"], ...] = ()
    """Also follow how well the score tells the probe set from these corruptions of it, as AUROC."""
    labels: bool | None = None
    """Follow what k-NN and a linear probe make of the embedding. None: where the data have labels and held-out
    samples."""
    labelled: int = 2000
    """Samples that those two are fitted on at most, and as many that they are judged on."""
    writers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go beside metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*at_least(self, 0, "every"), *at_least(self, 8, "probes", "labelled"), *positive(self, "eps")]
        check("monitor.", self, *rules, *at_least(self, 1, "log_every"))


@dataclass(frozen=True)
class Checkpoints:
    """What is kept of a run."""

    every: int = 1000
    """Steps between checkpoints; one is always written at the end."""
    keep: int = 2
    """How many of the newest to keep."""
    best: str | None = "auto"
    """Also keep the checkpoint at which this metric, as metrics.jsonl names it, was largest. `auto`: the agreement with
    the exact density, or else the linear probe, where there is one."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("checkpoint.", self, *at_least(self, 1, "every", "keep"))


@dataclass(frozen=True)
class Mesh:
    """The devices of a run. Another mesh may continue it: these are not part of what it is."""

    devices: int | None = None
    """How many to use; they divide the batch. None: all of all processes, but of a lone CPU one, because several are
    only there to try things out."""
    shard_parameters: int = 1
    """Devices that share one copy of the parameters, of the optimiser and of the moving averages (FSDP)."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("mesh.", self, *positive(self, "devices", "shard_parameters"))


@dataclass(frozen=True)
class Config:
    """A training run."""

    steps: int = 4000
    """Training steps."""
    seed: int = 0
    """Seeds the weights, the data and the views; the probe set does not depend on it."""
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Noise)
    encoder: Encoder = field(default_factory=MLP)
    recipe: Recipe = field(default_factory=Pair)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    monitor: Monitor = field(default_factory=Monitor)
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    mesh: Mesh = field(default_factory=Mesh)

    def __post_init__(self) -> None:
        """Check the values."""
        check("", self, *at_least(self, 1, "steps"))
