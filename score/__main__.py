"""Program `python -m score MODEL --data DATA [options]`, installed as `jepa-score`."""

import itertools
import sys
from collections import Counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jepa_jax import __version__
from jepa_jax.ahead import CompilerError
from jepa_jax.cli import as_flags, parse, program
from jepa_jax.errors import ConfigError

from .dry_run import dry_run
from .options import Arguments
from .run import Result, run

DESCRIPTION = """Score samples with a trained encoder: JEPA-SCORE, the sum of the log singular values of its Jacobian.

A higher score is more typical. The program writes FILE.csv (id,score,log_density,clipped; one row per sample, in input
order), FILE.json (the summary) and FILE.png. After a crash, the same command continues where it stopped."""

MIN_SPEARMAN = 0.9  # lower end of the interval below which predictions rank roughly
NAMED_ROWS = 5  # samples without a score that are named on the console
TRAINED_ON = {
    "trained on": "it was trained on these samples",
    "held out": "it was not trained on these samples",
    "not known": "it is not known whether it was trained on these samples",
}


def script() -> None:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    sys.exit(main(sys.argv[1:]))


def with_data(args: list[str]) -> list[str]:
    """Return the arguments with `--data` before the second one, if that is a name and there is no `--data`.

    Raises:
      ConfigError: If several files are named, as a pattern such as *.jpg becomes in a shell.
    """
    plain = next((place for place, arg in enumerate(args) if arg.startswith("-")), len(args))
    if plain > 1 and not any(arg.split("=")[0] == "--data" for arg in args):
        args, plain = [args[0], "--data", *args[1:]], 1
    after = args.index("--data") + 1 if "--data" in args else len(args)
    several = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args[after:]))
    if plain == 1 and len(several) > 1:
        shown = ", ".join(several[:2]) + (", ..." if len(several) > 2 else "")
        raise ConfigError(
            f"--data takes one name, and here are {len(several)}, {shown}; name their folder, or a .txt list of them"
        )
    return args


def main(args: list[str]) -> int:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    try:
        if args[:1] == ["--version"]:
            print(__version__)
            return 0
        prog = " ".join(program("score", __package__))
        arguments = parse(Arguments, with_data(args), prog=prog, description=DESCRIPTION)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if arguments.dry_run:
            dry_run(arguments, Console(highlight=False, soft_wrap=True), console)
            return 0
        result = run(arguments, console)
    except ConfigError as error:
        print(f"error: {as_flags(str(error), Arguments)}", file=sys.stderr)
        return 2
    except CompilerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 1
    if isinstance(result, Result):
        show(result)
    else:
        print(result)
    return 0


def show(result: Result) -> None:
    """Print the result in words."""
    summary = result.summary
    each = summary["seconds_per_sample"]
    speed = "" if not each else f", {1e3 * each:.2f} ms each" if each < 1 else f", {each:.1f} s each"
    count = summary["pilot"]["exact"] if "pilot" in summary else summary["count"]
    print(f"{count} samples{speed}; {summary['clipped_mean']:.2f} singular values clipped per sample")
    if "pilot" in summary:
        show_pilot(summary["count"], summary["pilot"])
    if count := summary["without_score_count"]:
        reasons = Counter(row["reason"] for row in summary["without_score"])
        names = ", ".join(str(row["id"]) for row in summary["without_score"][:NAMED_ROWS])
        more = ", ..." if count > NAMED_ROWS else ""
        print(f"{count} samples have no score: {' or '.join(reasons)} ({names}{more})")
    if summary.get("passed_over"):
        print(f"files that are no pictures: {', '.join(f'{n} {kind}' for kind, n in summary['passed_over'].items())}")
    if summary["arithmetic_error"] is not None:
        print(f"the encoder's arithmetic moves a score by at most {summary['arithmetic_error']:.1e} nats")
    for name, label in (
        ("spearman", "Spearman of the score with the exact log-density"),
        ("log_density_spearman", "Spearman of the corrected log-density"),
        ("top_spearman", f"Spearman of the top {summary['options']['rank']} log singular values, not the JEPA-SCORE"),
    ):
        # On the sphere the correction is a constant, so the two numbers would be equal.
        if name in summary and not (name == "log_density_spearman" and summary["law"] == "sphere"):
            value = summary[name]
            print(f"{label}: {f'{value:.4f}' if np.isfinite(value) else 'not defined, because the score is constant'}")
    if "spread_median" in summary:
        print(
            f"the maps disagree by {summary['spread_median']:.2f} nats (median of `spread`); in trials two errors in "
            "three were within two spreads, and fewer above sixteen dimensions"
        )
    if "curation" in summary:
        show_curation(summary["curation"])
    if "against" in summary:
        show_separation(summary)
    print(f"table: {result.out}")
    if result.summary["options"]["embeddings"]:
        print(f"embeddings: {result.summary['options']['embeddings']}")
    for path in result.pictures:
        print(f"picture: {path}")
    if result.page:
        print(f"report: {result.page}")


def show_pilot(count: int, found: dict[str, Any]) -> None:
    """Print how well scores are predicted."""
    low, high = found["spearman_interval"]
    print(
        f"{found['exact']} of {count} scores are exact and the others predicted, with {found['products_saved']:.3g} "
        "times fewer products; pictures and report show the exact ones"
    )
    print(
        f"predicted without its own score, a sample is {found['error']:.2g} nats off (root mean square), where scores "
        f"spread by {found['score_deviation']:.2g}; Spearman {found['spearman']:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}); bands for {found['band_coverage']:.0%} of the exact scores are "
        f"{found['band_width_median']:.2g} nats wide (median)"
    )
    if not low >= MIN_SPEARMAN:  # NaN where all predictions are the same
        print("note: such predictions rank samples roughly; more exact scores (--pilot) or --sketch 4 may do better")


def show_curation(found: dict[str, Any]) -> None:
    """Print how many samples the columns for curation point at."""
    print(
        f"{found['duplicates']} samples are near-duplicates of an earlier one: their embeddings are within "
        f"{found['duplicate_distance']:.3g}, where the nearest is at {found['nearest_distance_median']:.3g} (median)"
    )
    if "doubtful_labels" in found:
        print(
            f"{found['doubtful_labels']} samples have another label than most of their {found['label_neighbours']} "
            "nearest embeddings"
        )


def show_separation(summary: dict[str, Any]) -> None:
    """Print the table of AUROC values."""
    names = list(summary["against"])
    count, fitted = summary["against_count"], summary["against_fitted_count"]
    table = Table(title=f"AUROC of {count} samples: high is typical / low is typical")
    table.add_column(f"{summary['data']} against")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for detector in summary["against"][names[0]]:
        cells = [summary["against"][name][detector] for name in names]
        both = ((c["auroc"], c["auroc_reversed"]) for c in cells)
        table.add_row(detector, *("-" if np.isnan(high) else f"{high:.3f} / {low:.3f}" for high, low in both))
    Console(highlight=False).print(table)
    for name, reason in summary["against_failures"].items():
        print(f"{name}: {reason}")
    print(f"{count} of {count + fitted} samples count: the other detectors are fitted on the rest, not on these.")
    print(f"The encoder: {TRAINED_ON[summary['encoder_trained_on_them']]}.")


if __name__ == "__main__":
    script()
