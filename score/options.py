"""Command line of `python -m score`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jepa_jax.ahead import check_ahead
from jepa_jax.density.jacobian import Mode, Precision
from jepa_jax.density.spectrum import Method
from jepa_jax.distributed import check_processes
from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.positions import Resize


@dataclass(frozen=True)
class Arguments:
    """Command line of the program."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Directory written by `python -m train` or `python -m jepa_jax.pretrained`, or foreign weights: a Hugging Face
    directory, or an original file of I-JEPA, DINOv2 or MetaCLIP."""
    data: str
    """Samples to score: the name of a world, FILE.npy, FILE.npz, a table FILE.csv, FILE.tsv or FILE.parquet, `digits`,
    a folder of images, which is searched recursively, an image, a .txt list of images, or a prepared TFDS dataset
    tfds:NAME[/CONFIG][:SPLIT]."""
    weights: Literal["raw", "ema"] | None = None
    """Weights of a training run to use: the raw weights or their moving average. None: the weights that are the result
    of its recipe."""
    step: str | None = None
    """Checkpoint of a training run to use: a step, or `best`. None: the newest one."""
    family: str | None = None
    """For foreign weights, as in `python -m jepa_jax.pretrained`, whose --help has more: their family."""
    arch: str | None = None
    """For foreign weights: their published size, which for CLIP also determines the activation."""
    heads: int | None = None
    """For foreign weights: number of attention heads."""
    image_size: int | None = None
    """For foreign weights: side of the images in pixels."""
    branch: str | None = None
    """For foreign weights: the encoder to take if the file holds several, such as teacher and student."""
    positions: Resize | None = None
    """For foreign weights: interpolation of the position embeddings at another resolution."""
    out: str | None = None
    """FILE.csv or FILE.parquet, the table to write. None: a file named after the data, in the folder scores/ of the
    model directory, or for foreign weights in scores/NAME in the current directory."""
    format: Literal["csv", "parquet"] | None = None
    """Format of the table. None: that of --out, or csv."""
    curate: bool = False
    """Add columns for curation: `duplicate_of`, the id of an earlier sample whose embedding is far nearer than is
    usual; and if there are labels `class_percentile`, the percentile within the class, and `label_disagreement`, the
    share of the ten nearest samples with another label. All embeddings are compared with each other."""
    embeddings: str | None = None
    """FILE.npz to write with the embeddings: `embeddings` [N, K], float32, NaN for unreadable images, and `id`."""
    spectra: str | None = None
    """FILE.npz to write with all singular values: `singular_values` [N, R], in descending order, and `id`."""
    report: str | None = None
    """FILE.html to write with a report: the most and the least likely images, histogram, spectrum, classes, and a table
    to sort and filter. It opens in any browser, without a network."""
    limit: int | None = None
    """Number of samples to score, from the beginning; for a world, the number of samples to draw. None: all samples, or
    10,000 for a world."""
    sample: int | None = None
    """Number of samples to score, drawn at random without replacement; they keep their ids and their order. None: all
    samples."""
    sample_seed: int = 0
    """Seed of --sample, of --pilot and of the samples on which --precision is measured."""
    pilot: int | None = None
    """Number of samples, drawn at random, to score exactly, such as 1000; the scores of the others are predicted from
    their embeddings by regression. They have no `score`; the columns `predicted_score`, `predicted_low` and
    `predicted_high` contain a prediction and a band for 90 % of the exact scores, and `exact` is 1 for the pilot. The
    rank correlation and the error of predictions, measured by leaving out one sample at a time, are printed: read them
    before you rely on a prediction."""
    sketch: int = 0
    """With --pilot: number of random directions of the embedding along which the Jacobian of every sample is computed
    for a better prediction, such as 4. Each costs one product per sample, where an exact score costs K."""
    views: int = 1
    """Number of random views of each sample, made as in training; the score is -log mean exp(-score) over them. The
    column `standard_error` contains its standard error over the draw of the views. 1: the sample itself is scored."""
    rank: int | None = None
    """Number of the largest log singular values whose sum is also written, as column `top_RANK`. The sum is not the
    JEPA-SCORE, but may follow the density better if the samples lie on a manifold of this dimension."""
    tangent: int | None = None
    """Dimension of the manifold on which the samples lie; only the directions in its tangent space then count in the
    score. The tangent space is exact for a world that provides it, and otherwise estimated from nearest neighbours."""
    against: tuple[str, ...] = ()
    """Outliers from which the score must distinguish the samples: `inverted`, `rotated`, `noise` (corruptions of the
    samples themselves), or other DATA. The AUROC is reported beside that of k-NN, Mahalanobis distance, embedding norm
    and compressed size. Each sample is scored without random views."""
    eps: float = 1e-6
    """Singular values at or below this value are clipped: each counts as log(eps), and the column `clipped` contains
    their number."""
    law: Literal["assumed", "knn", "kde"] | None = None
    """Law of the embeddings in `log_density`, which adds its log-density to the score. `assumed`: the one to which
    training drives them, if it is known. `knn`, `kde`: measured among embeddings of training samples, or if the model
    has none, among those of the samples that are scored; by nearest neighbours or by kernels. The score stays as it is.
    None: that of the training, `density.law`."""
    max_pixels: int | None = None
    """Maximum number of pixels of an image file; larger ones have no score. None: that of the training,
    `data.max_pixels`, or else 178956970 or the value of the environment variable JEPA_JAX_MAX_PIXELS."""
    drop_clipped: bool = False
    """Leave clipped singular values out of the sum, instead of adding log(eps) for each."""
    method: Method = "auto"
    """Method for the sum: `svd`; `qr`, which gives no individual values and so excludes --spectra and --rank; or
    `gram64`, which is fast on a GPU, and on a TPU leaves the host little to do. All methods agree to 0.01 nats, and
    `auto` selects the fastest."""
    precision: Precision = "float32"
    """Precision of the encoder's matrix products. All except float32 need a GPU or a TPU and are faster; bf16x6 and
    tf32x3 are about as exact as float32, bf16x3 changes the scores little, tf32 and bf16 more. Before a run, 64 samples
    are scored in float32 too: a line says what the precision costs; a warning follows if a score moves by more than 0.1
    nats, or the rank correlation with float32 may be below 0.99 (lower end of its 95 % interval); and a precision that
    costs more than 1 nat or may be below 0.95 is refused."""
    accept_precision: bool = False
    """Go on with a --precision that would be refused."""
    mode: Mode = "auto"
    """Mode of differentiation: `forward` costs D products per sample, `reverse` K; `auto` selects the cheaper one."""
    chunk: int | None = None
    """Number of products that are computed at once, to limit the memory. None: as many as fit."""
    batch_size: int | None = None
    """Number of samples that are computed at once, over all devices. None: as many as fit."""
    devices: int | None = None
    """Number of devices of this machine to use; the samples are divided among them. None: all devices."""
    shard_parameters: int = 1
    """Number of devices over which each copy of the encoder is spread, if it does not fit on one."""
    workers: int | None = None
    """On a CPU: number of processes that this one starts, each with a core of its own, to share the samples. None: one
    per core for large encoders and at least 64 samples each, and else 1, which starts none."""
    processes: int | None = None
    """Number of processes among which the rows are divided. Each is started with the same command except for --process,
    and all share the folder of the table; the last to finish writes it. The same command without --processes scores the
    rows that are missing."""
    process: int | None = None
    """Index of this process, from 0."""
    coordinator: str | None = None
    """HOST:PORT of process 0, to which the others connect; needed only for devices that start together. Without it, no
    process waits for another, and the failure of one does not end the others."""
    distributed: bool = False
    """On a TPU pod or a cluster: let JAX determine --coordinator, --processes and --process."""
    compile_cache: bool = True
    """On GPU and TPU, keep compiled programs in the user's cache folder, so that the next call starts sooner. The
    environment variable JEPA_JAX_COMPILE_CACHE=off disables the cache for every program."""
    dry_run: bool = False
    """Compile the program of one batch, print its requirements (memory, arithmetic, traffic) and stop, without scoring
    or writing the table."""
    target: str | None = None
    """With --dry-run: devices to compile for, which this machine need not have, such as v5e:2x4 (a TPU slice of 2 x 4
    chips), v6e:2x2, v5p:2x2x1, tpu7x:2x2x1, h100, h100x8 or h200. None: the devices of this machine."""
    json: str | None = None
    """With --dry-run: FILE.json to write with what is printed."""


WEIGHT_OPTIONS = ("family", "arch", "heads", "image_size", "branch", "positions")  # of `jepa_jax.pretrained.Options`
# Nats by which no score may move in a lower precision, and the least lower end of the interval of its rank correlation.
WARNED = (0.1, 0.99)
REFUSED = (1.0, 0.95)
PILOT_OPTIONS = ("pilot", "sketch")  # options that change rows if there is a pilot
SCORE_OPTIONS = ("mode", "chunk", "method", "precision", "drop_clipped")  # options of `score_batches` by the same name


def check(a: Arguments) -> None:
    """Check the arguments, as far as this does not depend on the model and the data.

    Raises:
      ConfigError: If an argument is invalid; the message names the first one.
    """
    for name in (
        "eps",
        "chunk",
        "batch_size",
        "limit",
        "sample",
        "pilot",
        "max_pixels",
        "views",
        "devices",
        "shard_parameters",
        "workers",
        "processes",
        "heads",
        "image_size",
    ):
        value = getattr(a, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be positive")
    for name, path, suffix in (
        ("--out", a.out, ".csv or .parquet" if a.format is None else f".{a.format}"),
        ("--spectra", a.spectra, ".npz"),
        ("--embeddings", a.embeddings, ".npz"),
        ("--report", a.report, ".html"),
    ):
        if path is not None and Path(path).suffix not in suffix.split(" or "):
            raise ConfigError(f"{name} is {path}; it must end in {suffix}")
    if a.sample is not None and a.limit is not None:
        raise ConfigError("--sample and --limit are two ways to take fewer samples; take one")
    if a.sample_seed < 0:
        raise ConfigError(f"--sample-seed is {a.sample_seed}; it must not be negative")
    if a.tangent is not None and a.rank is not None:
        raise ConfigError("--tangent and --rank are two ways to leave directions out; take one")
    if a.views > 1 and a.tangent is not None:
        raise ConfigError("--tangent applies to the samples themselves, not to their random views; leave out --views")
    if a.views > 1 and a.spectra is not None:
        raise ConfigError("--spectra holds one spectrum per sample; leave out --views")
    if a.method == "qr" and (a.spectra or a.rank):
        option = "--spectra" if a.spectra else "--rank"
        raise ConfigError(f"{option} needs singular values, and --method qr gives only their sum; use svd or gram64")
    if a.workers is not None and (a.processes is not None or a.distributed):
        other = "distributed" if a.distributed else "processes"
        raise ConfigError(f"--workers and --{other} are two ways to divide the samples; take one")
    check_pilot(a)
    check_processes(a.coordinator, a.processes, a.process, a.distributed, together=False)
    check_ahead(a.dry_run, a.target, a.json)


def check_pilot(a: Arguments) -> None:
    """Check that no option needs the exact scores of all samples, or processes that share them.

    Raises:
      ConfigError: If one does; the message names the first one.
    """
    if a.pilot is None:
        if a.sketch:
            raise ConfigError("--sketch improves the predictions of --pilot, which is missing")
        return
    if a.tangent is not None:
        raise ConfigError("--pilot predicts from whole embeddings, not along --tangent; leave one out")
    if a.curate:
        raise ConfigError("--curate needs the score of every sample; leave out --pilot, or score in a call of its own")
    if a.processes is not None or a.distributed:
        raise ConfigError("--pilot is for one process, with all its devices; leave out --processes and --distributed")


def check_rank(a: Arguments, size: int, dim: int) -> None:
    """Check --rank and --tangent.

    Args:
      a: Arguments of the program.
      size: D, the number of input numbers of the encoder.
      dim: K, the dimension of its embedding.

    Raises:
      ConfigError: If either is not from 1 to min(K, D).
    """
    most = min(size, dim)
    for name, value in (("--rank", a.rank), ("--tangent", a.tangent)):
        if value is not None and not 1 <= value <= most:
            raise ConfigError(f"{name} is {value}; with K = {dim} and D = {size} it goes from 1 to {most}")
