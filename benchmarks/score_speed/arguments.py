"""Command line of `benchmarks.score_speed`."""

import dataclasses
import importlib.util
from dataclasses import dataclass

from benchmarks.score_speed.cases import CASES, DEFAULT_SIZES, PEERS, QUICK_PEERS, QUICK_SIZES
from jepa_jax.cli import parse
from jepa_jax.density.jacobian import MATMUL_PRECISIONS
from jepa_jax.errors import ConfigError, nearest


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    quick: bool = False
    """Score 20,000 samples of the toy and 2 of ViT-S/14 at 98 px once, beside the listing only (score_speed_quick)."""
    sizes: tuple[str, ...] = ()
    """Names: toy, vit_s_98, vit_s_224, vit_b_224, vit_l_224, vit_h_224, tiny. () takes the first four, or --quick's."""
    peers: tuple[str, ...] = ()
    """Names: listing, func, compiled; or none. () takes all, or --quick's."""
    precisions: tuple[str, ...] = ()
    """Names of the precisions of ours, as in `python -m score`; float32 comes first. () takes all of a GPU's."""
    reference: bool = True
    """Score one or two samples by the listing in float64 too, which takes a minute for a ViT-L/14."""
    samples: int | None = None
    """Number of samples that we score per case. None: 100,000 of the toy; of a ViT 1 to 4 on CPU, 8 or 16 on GPU."""
    repeats: int | None = None
    """Number of repetitions after the warm-up. None: 3, or 1 with --quick."""
    limit_seconds: float = 600.0
    """Longest time that each contestant may take, in seconds."""
    scaling: bool = False
    """Measure only how our time grows with samples, outputs and depth of a ViT-S/14 at 98 px (score_speed_scaling)."""
    out: str = "benchmarks/results"
    """Folder of the results. score_speed.json and .md are written in its subfolder for the device, such as cpu."""


def read_arguments(args: list[str], description: str) -> Arguments:
    """Parse the command line and fill in the defaults that depend on `--quick`.

    Args:
      args: Arguments without the name of the program.
      description: Description of the program in the help text.

    Raises:
      ConfigError: A name is unknown, a number is too small, or torch is missing.
    """
    given = parse(Arguments, args, prog="python -m benchmarks.score_speed", description=description)
    known_by_kind = (
        ("sizes", given.sizes, CASES),
        ("peers", given.peers, (*PEERS, "none")),
        ("precisions", given.precisions, MATMUL_PRECISIONS),
    )
    for kind, names, known in known_by_kind:
        for name in names:
            if name not in known:
                raise ConfigError(f"--{kind} cannot be {name!r}{nearest(name, list(known))}")
    numbers = (given.samples, given.repeats, given.limit_seconds)
    if any(number is not None and number < 1 for number in numbers):
        raise ConfigError("--samples, --repeats and --limit-seconds must be at least 1")
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("torch is missing: pip install 'jepa-jax[torch]', or make bench")
    return dataclasses.replace(
        given,
        sizes=given.sizes or (QUICK_SIZES if given.quick else DEFAULT_SIZES),
        peers=tuple(n for n in given.peers if n != "none") if given.peers else QUICK_PEERS if given.quick else PEERS,
        repeats=given.repeats or (1 if given.quick else 3),
    )
