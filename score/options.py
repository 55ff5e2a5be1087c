"""The command line of `python -m score`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jepa_jax.density.jacobian import Mode, Precision
from jepa_jax.density.spectrum import Method
from jepa_jax.distributed import check_processes
from jepa_jax.errors import ConfigError


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A directory made by `python -m train` or `python -m jepa_jax.pretrained`; or foreign weights: a Hugging Face
    directory, or an original file of I-JEPA, DINOv2 or MetaCLIP."""
    data: str
    """What to score: a world's name, FILE.npy, FILE.npz, `digits`, or a folder of images, searched recursively."""
    weights: Literal["raw", "ema"] | None = None
    """Of a training run, which weights: the raw ones or their moving average. None: what its recipe has as its
    result."""
    step: str | None = None
    """Of a training run, which checkpoint: a step, or `best`. None: the newest."""
    out: str | None = None
    """FILE.csv, the table. None: in the model's folder scores/, by the data's name; of foreign weights, in scores/
    here."""
    spectra: str | None = None
    """FILE.npz for all singular values: `singular_values` [N, R], descending, and `id`."""
    report: str | None = None
    """FILE.html for a report in one file: the most and the least likely images, histogram, spectrum, classes, and a
    table to sort and filter. Opens in any browser, without a network."""
    limit: int | None = None
    """Score only the first this many; of a world, draw this many (10,000 otherwise)."""
    views: int = 1
    """Score this many random views of each sample, made as in training, and take -log mean exp(-score) over them. The
    column `standard_error` says how far another draw of the views would move it. 1: the sample as it is."""
    rank: int | None = None
    """Also write the sum of so many of the largest log singular values, as column `top_RANK`. It is no JEPA-SCORE, but
    where samples lie on a manifold of this dimension, it may follow their density better."""
    tangent: int | None = None
    """Score along the data only: the samples lie on a manifold of this many dimensions, and only
    the directions of its tangent space count. Exact for a world that knows it, else found from nearest neighbours."""
    against: tuple[str, ...] = ()
    """Also tell the samples from these, and report AUROC beside k-NN, Mahalanobis, embedding norm and compressed size:
    `inverted`, `rotated`, `noise` (corruptions of the samples themselves), or other DATA. One view each."""
    eps: float = 1e-6
    """Singular values at or below this are clipped: each counts as log(eps), and `clipped` says how many there are."""
    drop_clipped: bool = False
    """Leave clipped singular values out of the sum, instead of log(eps) for each."""
    method: Method = "auto"
    """How to get the sum: `svd`; `qr`, without single values, so with no --spectra or --rank; `gram64`, fast on a GPU.
    All agree to 0.01 nats, and `auto` takes the fastest."""
    precision: Precision = "float32"
    """Of the encoder's matrix products. The others need a GPU or a TPU, are faster and change the scores; the x3 forms
    change them little."""
    mode: Mode = "auto"
    """How to differentiate: forward costs D products a sample, reverse K. `auto` takes the fewer."""
    chunk: int | None = None
    """Products at once, to bound memory. None: what fits."""
    batch_size: int | None = None
    """Samples at once, over all devices. None: what fits."""
    devices: int | None = None
    """Use only this many of this machine's devices. None: all of them. The samples are divided among them."""
    shard_parameters: int = 1
    """Spread each copy of the encoder over this many devices, when it does not fit on one."""
    processes: int | None = None
    """Divide the rows among this many processes, each started with the same command but for --process; they share the
    folder of the table. The last to finish writes it; the same command without --processes finishes what is missing."""
    process: int | None = None
    """Which of the processes this is, from 0."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where the processes meet, for devices that only start together. Others need none: then no
    process waits for another, nor ends with it."""
    distributed: bool = False
    """On a TPU pod or a cluster: let JAX find --coordinator, --processes and --process by itself."""
    compile_cache: bool = True
    """On GPU and TPU, keep compiled programs in the user's cache folder, so that the next call starts sooner. The
    environment variable JEPA_JAX_COMPILE_CACHE=off turns it off for every program."""


HOW = ("mode", "chunk", "method", "precision", "drop_clipped")  # what goes to the library by the same name


def check(a: Arguments) -> None:
    """Refuse arguments that cannot be right, whatever the model and the data.

    Raises:
      ConfigError: the first that is wrong.
    """
    for name in ("eps", "chunk", "batch_size", "limit", "views", "devices", "shard_parameters", "processes"):
        value = getattr(a, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be positive")
    for name, path, suffix in (
        ("--out", a.out, ".csv"),
        ("--spectra", a.spectra, ".npz"),
        ("--report", a.report, ".html"),
    ):
        if path is not None and Path(path).suffix != suffix:
            raise ConfigError(f"{name} is {path}; it must end in {suffix}")
    if a.tangent is not None and a.rank is not None:
        raise ConfigError("--tangent and --rank are two ways to leave directions out; take one")
    if a.views > 1 and a.tangent is not None:
        raise ConfigError("--tangent goes with the sample as it is, and its views lie elsewhere; leave out --views")
    if a.views > 1 and a.spectra is not None:
        raise ConfigError("--spectra holds one spectrum a sample; leave out --views")
    if a.method == "qr" and (a.spectra or a.rank):
        option = "--spectra" if a.spectra else "--rank"
        raise ConfigError(f"{option} needs singular values, and --method qr gives only their sum; use svd or gram64")
    check_processes(a.coordinator, a.processes, a.process, a.distributed, together=False)


def check_rank(a: Arguments, size: int, dim: int) -> None:
    """Refuse a rank or a tangent that an encoder of D = size and K = dim cannot have.

    Raises:
      ConfigError: it is not from 1 to min(K, D).
    """
    most = min(size, dim)
    for name, value in (("--rank", a.rank), ("--tangent", a.tangent)):
        if value is not None and not 1 <= value <= most:
            raise ConfigError(f"{name} is {value}; with K = {dim} and D = {size} it goes from 1 to {most}")
