"""Time JEPA-SCORE per sample, ours against the paper's PyTorch listing, with the same random weights and images.

    python -m benchmarks.score_speed [--quick] [--sizes NAME ...] [--peers NAME ...] [--samples N] [--repeats N]
                                     [--limit-seconds S] [--scaling] [--out DIR]

Hardware: two CPU cores, or one GPU with CUDA builds of jax and torch. Requires torch: `pip install jepa-jax[torch]`, or
`make bench`. On two cores `--quick` takes two to three minutes. The default (toy, ViT-S/14 at 98 and 224 px, ViT-B/14
at 224 px) takes at most 20 times `--limit-seconds`, because each case has five contestants. The benchmark runs
unattended: a contestant that fails or exceeds the limit is reported in one line and skipped, and the files are written
after every contestant. On two cores a float64 reference of ViT-B needs more than the default limit.

Goals on two cores: ViT-S/14 at 98 px twice as fast as the listing, and three times as fast as the listing with one
image at a time, using 80 % or more of the cores' own matrix-product rate; 100,000 samples of the toy in 10 s with
compilation, 20 times as fast as the listing; ViT-B/14 at 224 px within 6 GB. Goals on a GPU: ViT-S/14 at 224 px 30
times as fast as the listing in float32, and 100 times in the fastest precision within 1 nat of float32. LOG.md records
the results.

Each contestant runs in its own process, one after the other. The rate is nominal: K times the matrix products of one
gradient through the whole model, regardless of what a method computes, so that a method with less arithmetic shows a
higher rate. Its share is relative to the best rate of plain matrix products in the same process, measured before and
after; the used share counts instead what our program really multiplies. Scores are compared with the listing in
float64, without the singular values that are null by construction.
`--scaling` measures instead how our time grows with samples, outputs and arithmetic.
"""

import importlib.metadata
import os
import signal
import sys
from typing import Any

import jax
from rich.console import Console

from benchmarks.report import environment, results_folder
from benchmarks.score_speed.arguments import read_arguments
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.contestants import measure
from benchmarks.score_speed.scaling import measure_scaling
from benchmarks.score_speed.tables import report, write
from jepa_jax.errors import ConfigError


def main(args: list[str]) -> int:
    """Run the benchmark.

    Returns:
      0; 1 if one of our contestants failed; 2 if the benchmark cannot run.
    """
    # This process only looks up the device, and must not take its memory from the contestants.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        arguments = read_arguments(args, __doc__ or "")
        folder = results_folder(arguments.out)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    platform = jax.default_backend()
    console = Console(width=None if sys.stdout.isatty() else 100)
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5 and platform == "cpu":
        console.print(f"the machine is busy (load {load}): do not quote ratios that are measured on a busy machine")
    about = {**environment(), "torch": importlib.metadata.version("torch"), "load": load, "repeats": arguments.repeats}
    if arguments.scaling:
        return measure_scaling(arguments, folder, about, console)
    rows: list[dict[str, Any]] = []
    for name in arguments.sizes:
        row: dict[str, Any] = {"case": name, "label": CASES[name].label, "contestants": {}}
        rows.append(row)
        for _ in measure(name, row, arguments, platform, console):
            write(folder, "score_speed_quick" if arguments.quick else "score_speed", rows, about)
        report(row, console)
    ours = [found for row in rows for name, found in row["contestants"].items() if name.startswith("ours")]
    return 1 if any("failed" in found for found in ours) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the contestant, in a session of its own, would go on
    sys.exit(main(sys.argv[1:]))
