"""Description of a training run: frozen dataclasses.

The docstring under each field is its `--help` text. `None` means "the default that fits", and says which.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from jepa_jax.errors import ConfigError

AntiCollapse = Literal["uniformity", "infonce", "koleo", "sigreg", "vicreg", "barlow", "coding_rate", "none"]


@dataclass(frozen=True)
class Data:
    source: str = "mixture_2d"
    """A world's name, FILE.npy, FILE.npz, a folder of images, `digits` or `tfds:NAME[/CONFIG][:SPLIT]`."""
    batch_size: int = 512
    """Samples per step, B; every loss is over the whole of it."""
    noise: float | None = None
    """Standard deviation of the Gaussian noise each view adds, in the data's own units. None: the world's own,
    and a tenth of the data's standard deviation for arrays."""
    rho: float | None = None
    """Correlation of a positive pair's latents, for the worlds that pair by an Ornstein-Uhlenbeck step."""
    shift: int = 0
    """Images: each view moves by up to this many pixels along each axis."""
    holdout: float = 0.0
    """The fraction of samples kept out of training; they become the probe set. Not for worlds."""
    probe_source: str = ""
    """Streams: the data set that the probe set comes from, such as `tfds:cifar10:test`. Empty: what `holdout` keeps."""
    stream: bool | None = None
    """Read images as training goes, instead of holding all of them on the device. None: folders and `tfds:` always,
    arrays above 1 GB."""
    size: int | None = None
    """Streams: side in pixels that every image is brought to, its shorter side resized and the middle square cut out.
    None: they have one size already."""
    channels: Literal[1, 3] = 3
    """Streams: 3 for colours, 1 for grey."""
    workers: int = 0
    """Streams: processes that read and decode; 0 for threads of this one."""


@dataclass(frozen=True)
class Views:
    """How an image becomes the views that are compared."""

    kind: Literal["noise", "crops"] = "noise"
    """`noise`: two views, as the data's own options say (noise, shift, a world's pairs); `crops`: random resized crops
    with flips, colours and noise, which the rest of these options are for."""
    global_views: int = 2
    """Large crops of an image."""
    local_views: int = 0
    """Small crops of an image, which predict the large ones."""
    global_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a large crop over the image's, from and to."""
    local_scale: tuple[float, float] = (0.05, 0.3)
    """Area of a small crop over the image's, from and to."""
    flip: float = 0.5
    """Probability that a view is mirrored left and right."""
    jitter: float = 0.8
    """Probability that its brightness, contrast, saturation and hue change."""
    grey: float = 0.2
    """Probability that it loses its colours."""
    blur: float = 0.0
    """Probability that it is blurred."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on its pixels."""
    local_size: int | None = None
    """Side of a small crop in pixels, for a `vit`. None: the image's own."""


@dataclass(frozen=True)
class Encoder:
    kind: Literal["mlp", "conv", "vit"] = "mlp"
    """`mlp` on the flattened sample; `conv` or `vit`, a vision transformer, on images [H, W, C]."""
    widths: tuple[int, ...] = (256, 256, 256)
    """Hidden widths of the MLP, or channels of the convolutions (each halves the image's side)."""
    dim: int | None = 16
    """Width of the embedding, K. K > 2 D lets a D-dimensional world embed without folding. None: 4 D,
    but from 16 to 128."""
    activation: Literal["gelu", "silu", "tanh", "softplus", "elu"] = "gelu"
    """Smooth activations only: the score is made of derivatives."""
    output: Literal["auto", "free", "sphere"] = "auto"
    """`sphere` divides the embedding by its norm; `auto` takes what the anti-collapse term asks for."""
    patch_size: int = 4
    """Of `vit`: side of a patch in pixels; it divides the image's, which is square."""
    width: int = 96
    """Of `vit`: width of a token."""
    depth: int = 4
    """Of `vit`: blocks."""
    heads: int = 3
    """Of `vit`: attention heads; they divide the width."""
    skip: bool = False
    """Add a linear map of the input to the embedding, so that a K = D encoder starts near a bijection."""


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
    predictor: tuple[int, ...] = ()
    """Hidden widths of a predictor MLP from the first view's embedding to the second's; () predicts by identity."""
    ema: float = 0.0
    """Decay of a moving-average copy of the encoder that makes the targets; 0 shares the encoder."""
    recipe: Literal["pair", "multiview", "masked", "distill"] = "pair"
    """What is predicted. `pair`: one view's embedding from the other's. `multiview`: the mean of the large crops from
    every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible ones (I-JEPA; a `vit`). `distill`:
    the teacher's distribution over prototypes from the student's, of another view (DINO)."""
    ema_end: float | None = None
    """The decay at the last step, reached linearly. None: the same all along."""
    projector: tuple[int, ...] = ()
    """Widths of an MLP between the embedding and the loss; (), the loss works on the embedding itself, whose law is
    then known."""
    prototypes: int = 256
    """Of `distill`: how many there are."""
    teacher_temperature: float = 0.05
    """Of `distill`: of the teacher's distribution; `temperature` is the student's there, 0.1 by default."""
    targets: Literal["sinkhorn", "centring"] = "sinkhorn"
    """Of `distill`: what keeps the teacher from using one prototype for all."""
    predictor_width: int = 48
    """Of `masked`: width of the predictor's tokens."""
    predictor_depth: int = 2
    """Of `masked`: blocks of the predictor."""
    mask_blocks: int = 4
    """Of `masked`: blocks of patches that are hidden."""


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup_steps: int = 100
    """Steps over which the rate rises from 0; it then falls to 0 along a cosine."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip_norm: float | None = None
    """Largest global norm of the gradient. None: no clipping."""
    average: float = 0.0
    """Decay of the moving average of the weights that is scored and saved as the encoder; 0 takes the raw weights."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Type the networks compute in while they train. Weights, statistics and losses are float32 either way, and so is
    the score."""
    accumulate: int = 1
    """Parts in which a batch goes through the networks, one after the other, to save memory. The losses are still
    over the whole batch and the gradient is the same; the forward pass runs twice."""
    remat: bool = False
    """Compute activations a second time in the backward pass (of a `vit`: each block's) instead of keeping them."""


@dataclass(frozen=True)
class Monitor:
    every: int = 500
    """Steps between looks at the learned density; 0 looks only at the end."""
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


@dataclass(frozen=True)
class Checkpoints:
    every: int = 1000
    """Steps between checkpoints; one is always written at the end."""
    keep: int = 2
    """How many of the newest to keep."""
    best: str | None = "auto"
    """Also keep the checkpoint at which this metric, as metrics.jsonl names it, was largest. `auto`: the agreement with
    the exact density, or else the linear probe, where there is one."""


@dataclass(frozen=True)
class Mesh:
    """The devices of a run. Another mesh may continue it: these are not part of what it is."""

    devices: int | None = None
    """How many to use; they divide the batch. None: all of all processes, but of a lone CPU one, because several are
    only there to try things out."""
    shard_parameters: int = 1
    """Devices that share one copy of the parameters, of the optimiser and of the moving averages (FSDP)."""


@dataclass(frozen=True)
class Config:
    steps: int = 4000
    """Training steps."""
    seed: int = 0
    """Seeds the weights, the data and the views; the probe set does not depend on it."""
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    encoder: Encoder = field(default_factory=Encoder)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    monitor: Monitor = field(default_factory=Monitor)
    checkpoint: Checkpoints = field(default_factory=Checkpoints)
    mesh: Mesh = field(default_factory=Mesh)


def check(config: Config) -> None:
    """Refuse values that cannot run.

    Raises:
      ConfigError: the first field out of its range, by its dotted name.
    """
    c = config
    for name, value in flatten(dataclasses.asdict(config)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be finite")
    for ok, message in (
        (c.steps >= 1, f"--steps is {c.steps}; it must be at least 1"),
        (c.data.batch_size >= 2, f"--data.batch-size is {c.data.batch_size}; it must be at least 2"),
        (c.data.noise is None or c.data.noise >= 0, f"--data.noise is {c.data.noise}; it must not be negative"),
        (c.data.rho is None or 0 <= c.data.rho < 1, f"--data.rho is {c.data.rho}; it must be in [0, 1)"),
        (c.data.shift >= 0, f"--data.shift is {c.data.shift}; it must not be negative"),
        (0 <= c.data.holdout < 1, f"--data.holdout is {c.data.holdout}; it must be in [0, 1)"),
        (c.encoder.dim is None or c.encoder.dim >= 1, f"--encoder.dim is {c.encoder.dim}; it must be at least 1"),
        *(
            (getattr(c.encoder, name) >= 1, f"--encoder.{name.replace('_', '-')} must be at least 1")
            for name in ("patch_size", "width", "depth", "heads")
        ),
        (all(w >= 1 for w in c.encoder.widths), "--encoder.widths must all be at least 1"),
        (all(w >= 1 for w in c.objective.predictor), "--objective.predictor widths must all be at least 1"),
        (
            c.objective.temperature is None or c.objective.temperature > 0,
            f"--objective.temperature is {c.objective.temperature}; it must be positive",
        ),
        (c.objective.num_slices >= 1, f"--objective.num-slices is {c.objective.num_slices}; it must be at least 1"),
        (0 <= c.objective.ema < 1, f"--objective.ema is {c.objective.ema}; it must be in [0, 1)"),
        (0 <= c.optim.average < 1, f"--optim.average is {c.optim.average}; it must be in [0, 1)"),
        (
            c.objective.weight is None or c.objective.weight >= 0,
            f"--objective.weight is {c.objective.weight}; it must not be negative",
        ),
        (c.optim.weight_decay >= 0, f"--optim.weight-decay is {c.optim.weight_decay}; it must not be negative"),
        (c.optim.lr > 0, f"--optim.lr is {c.optim.lr}; it must be positive"),
        (c.optim.warmup_steps >= 0, f"--optim.warmup-steps is {c.optim.warmup_steps}; it must not be negative"),
        (c.optim.clip_norm is None or c.optim.clip_norm > 0, "--optim.clip-norm must be positive"),
        (c.data.size is None or c.data.size >= 1, f"--data.size is {c.data.size}; it must be at least 1"),
        (c.data.workers >= 0, f"--data.workers is {c.data.workers}; it must not be negative"),
        (c.optim.accumulate >= 1, f"--optim.accumulate is {c.optim.accumulate}; it must be at least 1"),
        (c.monitor.labelled >= 8, f"--monitor.labelled is {c.monitor.labelled}; it must be at least 8"),
        (c.mesh.devices is None or c.mesh.devices >= 1, f"--mesh.devices is {c.mesh.devices}; it must be positive"),
        (c.mesh.shard_parameters >= 1, f"--mesh.shard-parameters is {c.mesh.shard_parameters}; it must be positive"),
        (c.monitor.every >= 0, f"--monitor.every is {c.monitor.every}; it must not be negative"),
        (c.monitor.probes >= 8, f"--monitor.probes is {c.monitor.probes}; it must be at least 8"),
        (c.monitor.eps > 0, f"--monitor.eps is {c.monitor.eps}; it must be positive"),
        (c.monitor.log_every >= 1, f"--monitor.log-every is {c.monitor.log_every}; it must be at least 1"),
        (c.checkpoint.every >= 1, f"--checkpoint.every is {c.checkpoint.every}; it must be at least 1"),
        (c.checkpoint.keep >= 1, f"--checkpoint.keep is {c.checkpoint.keep}; it must be at least 1"),
    ):
        if not ok:
            raise ConfigError(message)


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested dict."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
