"""Program `python -m score.compare A.csv B.csv`, installed as `jepa-compare`: two models, or two sets of samples."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from jepa_jax.errors import ConfigError

from .console import answer, show_rows
from .scores import Scores

DESCRIPTION = """Compare two tables of scores.

Two models on the same samples: the rank correlation of their scores, and the samples that they rank most differently.
With --sets, one model on two sets of samples: whether their scores have the same distribution.

  PROGRAM model_a.csv model_b.csv
  PROGRAM old_photos.csv new_photos.csv --sets"""
LEAST_SAMPLES = 10  # below which a correlation says nothing
NORMAL_975 = 1.959964  # quantile of N(0, 1) for an interval of 95 %


@dataclass(frozen=True)
class Arguments:
    """Command line of the program."""

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """FILE.csv or FILE.parquet, a table that the score program wrote."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Another such table."""
    sets: bool = False
    """Compare two sets of samples by a model, instead of two models on the same samples."""
    by: str = "score"
    """Column that is compared."""
    top: int = 10
    """Number of samples to print that the two tables rank most differently."""


def script() -> None:
    """Run the program and exit with its status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    sys.exit(main(sys.argv[1:]))


def main(args: Sequence[str]) -> int:
    """Run the program and return its exit status: 0, or 2 if the input is invalid."""
    return answer(args, Arguments, "compare", DESCRIPTION, run)


def run(a: Arguments) -> None:
    """Compare and print.

    Raises:
      ConfigError: If the arguments or the tables are invalid.
    """
    if a.top < 0:
        raise ConfigError(f"--top is {a.top}; it must not be negative")
    first, second = Scores(Path(a.first)), Scores(Path(a.second))
    (compare_sets if a.sets else compare_models)(a, first, second)


def compare_models(a: Arguments, first: Scores, second: Scores) -> None:
    """Print how two tables rank the same samples.

    Raises:
      ConfigError: If they have too few ids in common, or an id is in a table twice.
    """
    from scipy.stats import rankdata

    rows = common_rows(first, second)
    x, y = first.numbers(a.by)[rows[0]], second.numbers(a.by)[rows[1]]
    fine = np.isfinite(x) & np.isfinite(y)
    if fine.sum() < LEAST_SAMPLES:
        raise ConfigError(
            f"{first.path} and {second.path} have {len(fine)} ids in common, of which {fine.sum()} have a {a.by} in "
            f"both; a rank correlation needs {LEAST_SAMPLES}"
        )
    x, y, ids = x[fine], y[fine], first.ids[rows[0]][fine]
    count = len(x)
    print(f"{count} samples of {len(first)} in {first.path} and {len(second)} in {second.path}")
    _note_other_data(first, second)
    rho, low, high = rank_correlation(x, y)
    print(f"Spearman of {a.by}: {rho:.4f} (95 % interval {low:.4f} to {high:.4f})")
    ranks = [100 * (rankdata(values) - 0.5) / count for values in (x, y)]
    distance = np.abs(ranks[0] - ranks[1])
    if not distance.any():
        agreed = f"have the same {a.by}" if (x == y).all() else "are ranked the same"
        print(f"the tables agree: all {count} samples {agreed} in both")
        return
    apart = np.argsort(-distance, kind="stable")[: min(a.top, np.count_nonzero(distance))]
    if not len(apart):
        return
    names = ["id", f"{a.by} A", f"{a.by} B", "percentile A", "percentile B"]
    shown = zip(ids[apart], x[apart], y[apart], np.round(ranks[0][apart], 1), np.round(ranks[1][apart], 1), strict=True)
    show_rows("The samples that are ranked most differently", names, shown, names[1:])


def common_rows(first: Scores, second: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows [n] of each table whose ids both have, in the order of the first.

    Raises:
      ConfigError: If there are none, or an id is in a table twice.
    """
    places = {name: row for row, name in enumerate(second.ids)}
    for scores in (first, second):
        if len(set(scores.ids)) < len(scores):
            name = next(name for name in scores.ids if (scores.ids == name).sum() > 1)
            raise ConfigError(f"{scores.path} has the id {name!r} twice, so that its rows cannot be matched")
    rows = [(row, places[name]) for row, name in enumerate(first.ids) if name in places]
    if not rows:
        raise ConfigError(
            f"{first.path} and {second.path} have no id in common; --sets compares two sets of samples by a model"
        )
    ours, theirs = np.array(rows).T
    return ours, theirs


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's rank correlation of two columns [N], and the ends of its interval of 95 %.

    The interval is that of Fisher's transform with the variance of Bonett and Wright (2000). All are NaN if a column is
    constant.
    """
    from scipy.stats import rankdata

    a, b = rankdata(x), rankdata(y)
    if not (np.ptp(a) and np.ptp(b)):
        return float("nan"), float("nan"), float("nan")
    rho = float(np.corrcoef(a, b)[0, 1])
    half = NORMAL_975 * np.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))


def compare_sets(a: Arguments, first: Scores, second: Scores) -> None:
    """Print whether the scores of two sets of samples have one distribution.

    Raises:
      ConfigError: If a table has fewer than two scores.
    """
    from scipy.stats import ks_2samp

    from jepa_jax.evaluate.detectors import auroc

    values = []
    for scores in (first, second):
        column = scores.numbers(a.by)
        values.append(column[np.isfinite(column)])
        if len(values[-1]) < 2:
            raise ConfigError(f"{scores.path}: {len(values[-1])} rows have a {a.by}; a comparison needs two at least")
    x, y = values
    _note_other_model(first, second)
    names = ["table", "samples", "5 %", "median", "95 %"]
    rows = [
        (str(s.path), str(len(v)), *np.quantile(v, [0.05, 0.5, 0.95]))
        for s, v in zip((first, second), values, strict=True)
    ]
    show_rows(f"Distribution of {a.by}", names, rows, names[1:])
    distance, p = ks_2samp(x, y)
    high = auroc(x, y)
    print(f"Kolmogorov-Smirnov: distance {distance:.4f}, p = {p:.3g}")
    print(f"AUROC: {high:.4f} (the probability that a sample of {first.path} has the higher {a.by}; 0.5 by chance)")


def _note_other_data(first: Scores, second: Scores) -> None:
    """Print a note if tables of other data were matched by row numbers."""
    data = [scores.summary.get("data") for scores in (first, second)]
    if None not in data and data[0] != data[1] and all(name.isdigit() for name in first.ids):
        print(
            f"note: the ids are row numbers, and the data are {data[0]} and {data[1]}; --sets compares sets of samples"
        )


def _note_other_model(first: Scores, second: Scores) -> None:
    """Print a note if two sets were scored by two models."""
    models = [scores.summary.get("model") for scores in (first, second)]
    if None not in models and models[0] != models[1]:
        print(f"note: the models are {models[0]} and {models[1]}, whose scores have no common scale")


if __name__ == "__main__":
    script()
