"""Config of a run: objective, optimiser, evaluation, checkpoints and devices, and all sections together."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive
from jepa_jax.config.data import Data, Noise, Views
from jepa_jax.config.encoders import MLP, Encoder
from jepa_jax.config.recipes import Pair, Recipe

AntiCollapse = Literal[
    "uniformity", "infonce", "koleo", "sigreg", "energy", "vicreg", "barlow", "coding_rate", "entropy", "none"
]


@dataclass(frozen=True)
class Objective:
    """Objective of the training: loss = prediction_weight * prediction + weight * anti_collapse."""

    anti_collapse: AntiCollapse = "uniformity"
    """Term that keeps the embeddings of samples apart. `entropy` is exact, and needs an encoder that cannot fold
    (`triangular`); `none` collapses on purpose, as a control."""
    weight: float | None = None
    """Weight of the anti-collapse term. None: the default of the term."""
    prediction_weight: float = 1.0
    """Weight of the prediction term; with 0 it is reported and has no effect. A triangular map is determined by the
    density alone, so that prediction can only bend it."""
    temperature: float | None = None
    """Scale of the kernel in `uniformity` (t, default 2) and `infonce` (tau, default 0.2)."""
    distance: Literal["l2", "l1", "smooth_l1", "cosine"] = "l2"
    """Distance of a prediction from its target: squares, magnitudes, squares that become magnitudes above 1, or 2 minus
    twice the cosine. A mean over the numbers of a token, a sum over those of an embedding."""
    anti_collapse_on: Literal["pooled", "tokens"] = "pooled"
    """Embeddings that the anti-collapse term acts on: those of whole samples, or each token of a `vit` on its own,
    which also keeps the tokens of one place from becoming equal."""
    num_slices: int = 256
    """Number of random directions per step in `sigreg`."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [
            *at_least(self, 0, "weight", "prediction_weight"),
            *positive(self, "temperature"),
            *at_least(self, 1, "num_slices"),
        ]
        check("objective.", self, *rules)


@dataclass(frozen=True)
class Optim:
    """AdamW or gradient descent, with warm-up and a decay of the rate."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or plain gradient descent."""
    lr: float = 1e-3
    """Peak learning rate."""
    decay: Literal["cosine", "none"] = "cosine"
    """How the learning rate falls after the warm-up: to 0 along a cosine, or not at all."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip_norm: float | None = None
    """Maximum global norm of the gradient. None: no clipping."""
    ema: float = 0.0
    """Decay of the moving average of the weights (EMA) that is scored and saved as the encoder; 0 keeps no average, and
    the raw weights are used."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Data type in which the networks compute during training. The weights, statistics and losses are float32 in either
    case, and so is the score."""
    accumulate: int = 1
    """Number of parts in which a batch passes through the networks, one after the other, to save memory. The losses are
    still computed over the whole batch and the gradient is the same; the forward pass runs twice."""
    remat: bool = False
    """Recompute activations in the backward pass (in a `vit`: those of each block) instead of storing them."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*positive(self, "lr", "clip_norm"), *at_least(self, 0, "warmup_steps", "weight_decay")]
        check("optim.", self, *rules, *fractions(self, "ema"), *at_least(self, 1, "accumulate"))


@dataclass(frozen=True)
class Density:
    """How the score becomes a log-density."""

    law: Literal["assumed", "knn", "kde"] = "assumed"
    """Law of the embeddings, whose log-density is added to the score. `assumed`: the one to which the anti-collapse
    term drives them, if training succeeds. `knn`, `kde`: measured among training embeddings, by nearest neighbours or
    by kernels. The score itself stays as it is."""


@dataclass(frozen=True)
class Monitor:
    """Evaluation during training."""

    every: int = 500
    """Steps between evaluations of the learned density; 0 evaluates only at the end."""
    probes: int = 2048
    """Number of samples in the fixed probe set that is scored."""
    eps: float = 1e-6
    """Singular values at or below this value count as clipped."""
    log_every: int = 100
    """Steps between lines in metrics.jsonl."""
    figures: bool = True
    """Draw figures at every evaluation and at the end."""
    against: tuple[Literal["inverted", "rotated", "noise"], ...] = ()
    """Also evaluate how well the score distinguishes the probe set from these corruptions of it, as AUROC."""
    labels: bool | None = None
    """Evaluate k-NN and a linear probe on the embedding. None: if the data have labels and held-out samples."""
    labelled: int = 2000
    """Maximum number of samples on which these two classifiers are fitted, and of samples on which they are
    evaluated."""
    writers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Destinations of the metrics in addition to metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*at_least(self, 0, "every"), *at_least(self, 8, "probes", "labelled"), *positive(self, "eps")]
        check("monitor.", self, *rules, *at_least(self, 1, "log_every"))


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of a run."""

    every: int = 1000
    """Steps between checkpoints; one is always written at the end."""
    keep: int = 2
    """Number of the newest checkpoints that are kept."""
    best: str | None = "auto"
    """Also keep the checkpoint at which this metric, by its name in metrics.jsonl, was largest. `auto`: the agreement
    with the exact density if that is known, or else the log-density of held-out samples or the linear probe if there is
    one."""
    result: Literal["last", "best"] = "last"
    """Checkpoint that is the result of the run, and that is scored without `step`. `best` ends the influence of
    training where it no longer helps samples that were held out (early stopping)."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("checkpoint.", self, *at_least(self, 1, "every", "keep"))


@dataclass(frozen=True)
class Mesh:
    """Devices of a run. They are no part of its identity, so that it may be continued on another mesh."""

    devices: int | None = None
    """Number of devices, which must divide the batch. None: all devices of all processes, but only one CPU device in a
    single process, because several CPU devices serve only for trials."""
    shard_parameters: int = 1
    """Number of devices that share one copy of the parameters, the optimiser state and the moving averages (FSDP)."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("mesh.", self, *positive(self, "devices", "shard_parameters"))


@dataclass(frozen=True)
class Config:
    """Config of a training run."""

    steps: int = 4000
    """Number of training steps."""
    fewer_steps: bool = False
    """Take fewer steps for samples of more than 16 numbers, `steps` * sqrt(16 / D), at least 600, since each takes
    longer."""
    seed: int = 0
    """Seed of the weights, the data and the views; the probe set does not depend on it."""
    init_from: str | None = None
    """Model from whose weights the training starts, instead of random ones: a folder of a run, a converted model, or
    foreign weights such as DINOv2's. The encoder is that of the model, with its preprocessing; other networks, such as
    a predictor, start anew. None: random weights."""
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Noise)
    encoder: Encoder = field(default_factory=MLP)
    recipe: Recipe = field(default_factory=Pair)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    density: Density = field(default_factory=Density)
    monitor: Monitor = field(default_factory=Monitor)
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    mesh: Mesh = field(default_factory=Mesh)

    def __post_init__(self) -> None:
        """Check the values."""
        # JAX would use the last 32 bits of another seed, so that two seeds would mean the same run.
        seeds = ("seed", -(2**31) <= self.seed < 2**32, "be at least -2^31 and below 2^32")
        counted = ("steps", 1 <= self.steps < 2**31, "be at least 1 and below 2^31")
        check("", self, counted, seeds)
