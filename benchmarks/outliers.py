"""One-class detection of outliers: the automatic recipe beside the detectors that people use.

    python -m benchmarks.outliers [--seeds 0-4] [--folder ADBENCH] [--rows NAME ...]

Hardware: any CPU. Each class of scikit-learn's breast_cancer, wine and digits is the typical one in turn, and the
others are outliers; nothing is selected. `--folder` adds every ADBench file in a folder (`.npz` with `X` and `y`, 1 for
outliers). A detector is fitted to half of the typical rows, standardised by them, and ranks the other half and all
outliers. No detector sees an outlier, and none is tuned. A seed draws the halves. Results are written after every cell
to OUT/DEVICE/outliers.json and outliers.md; the same command continues an interrupted run.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import stats
from sklearn.covariance import MinCovDet
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from benchmarks.report import continued, exit_status, markdown_table, one_line, results_folder, write_results
from benchmarks.unseen import numbers
from jepa_jax import JEPADensity, evaluate
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.progress import progress

Detector = Callable[
    [np.ndarray, np.ndarray, int], np.ndarray
]  # (training rows, other rows, seed) -> scores, high typical
METRICS = {"auroc": "AUROC", "ap": "Average precision (outliers are positive)", "seconds": "Seconds to fit and score"}
SHIPPED = {"breast_cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits}
RESAMPLES = 2000  # of the tasks, for the intervals


def ours(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return the log-density by `JEPADensity()` without an option."""
    return JEPADensity(random_state=seed).fit(fit).score_samples(query)


def neighbours(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return minus the distance of the fifth neighbour, as PyOD's KNN does."""
    del seed
    return -evaluate.knn_distance(fit, query, 5)


def baseline(name: str) -> Detector:
    """Return the KDE or the Gaussian mixture to which a run compares itself: bandwidth and components are chosen."""

    def scores(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
        del seed
        size = fit.shape[1]
        found = getattr(evaluate.baselines(fit, query, np.zeros(size), np.ones(size)), name)
        if found is None:
            raise ValueError("no component has a volume")
        return found

    return scores


def mcd(fit: np.ndarray, query: np.ndarray, seed: int) -> np.ndarray:
    """Return minus the robust Mahalanobis distance by the minimum covariance determinant."""
    return -MinCovDet(random_state=seed).fit(fit).mahalanobis(query)


DETECTORS: dict[str, Detector] = {
    "jepa_jax": ours,
    "k-NN": neighbours,
    "isolation forest": lambda fit, query, seed: IsolationForest(random_state=seed).fit(fit).score_samples(query),
    "LOF": lambda fit, query, seed: LocalOutlierFactor(novelty=True).fit(fit).score_samples(query),
    "KDE": baseline("kde"),
    "GMM": baseline("gmm"),
    "OCSVM": lambda fit, query, seed: OneClassSVM(gamma="scale").fit(fit).score_samples(query),
    "MCD": mcd,
}


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    seeds: str = "0-4"
    """Seeds of the halves: numbers and ranges, such as 0-4 or 3,7."""
    folder: str = ""
    """Folder of ADBench files (.npz with X and y), all of which are added."""
    rows: tuple[str, ...] = ()
    """Detectors to measure. () takes all."""
    out: str = "benchmarks/results"
    """Folder of the results. outliers.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Run the benchmark and return the exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""

    def measure() -> Path:
        a = parse(Arguments, args, prog="python -m benchmarks.outliers", description=__doc__ or "")
        for row in a.rows:
            if row not in DETECTORS:
                raise ConfigError(f"unknown detector {row!r}{nearest(row, DETECTORS)}")
        out = results_folder(a.out)
        run(a, out, Console(stderr=True, highlight=False, soft_wrap=True))
        return out / "outliers.md"

    return exit_status(measure)


def tasks(folder: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name, the rows [N, D] and which of them are outliers [N], of every task.

    Raises:
      ConfigError: If the folder has no file, or one has no X and y.
    """
    for name, load in SHIPPED.items():
        x, y = load(return_X_y=True)
        for typical in np.unique(y):
            yield f"{name} {typical}", x, y != typical
    files = sorted(Path(folder).glob("*.npz")) if folder else []
    if folder and not files:
        raise ConfigError(f"{folder} has no .npz file")
    for path in files:
        with np.load(path, allow_pickle=False) as stored:
            if not {"X", "y"} <= set(stored.files):
                raise ConfigError(f"{path} has no arrays X and y, as ADBench's files have")
            yield path.stem, stored["X"].astype(np.float64), stored["y"].reshape(-1) > 0


def run(a: Arguments, out: Path, console: Console) -> None:
    """Measure every cell that has no result yet, and write both files after each."""
    about, cells = continued(out / "outliers.json", {"protocol": "half of the typical rows, standardised"})
    names, seeds = a.rows or tuple(DETECTORS), numbers(a.seeds)
    todo = [
        (task, seed, name)
        for task in tasks(a.folder)
        for seed in seeds
        for name in names
        if name not in cells.get(task[0], {}).get(str(seed), {})
    ]
    with progress(console, len(todo), "cells") as bar:
        for (task, x, outlying), seed, name in todo:
            bar.update(bar.task_ids[0], rate=f"{task} {seed} {name}")
            found = cell(x, outlying, seed, DETECTORS[name])
            cells.setdefault(task, {}).setdefault(str(seed), {})[name] = found
            write(out, about, cells)
            console.print(f"{task}, seed {seed}, {name}: {found}")
            bar.advance(bar.task_ids[0])
    write(out, about, cells)


def cell(x: np.ndarray, outlying: np.ndarray, seed: int, detector: Detector) -> dict[str, Any]:
    """Measure one detector on one task; `failed` says why there is no result.

    Args:
      x: Rows [N, D].
      outlying: Which of them are outliers, [N].
      seed: Seed of the halves and of the detector.
      detector: Detector.
    """
    typical = np.random.default_rng(seed).permutation(np.flatnonzero(~outlying))
    known, judged = typical[: len(typical) // 2], typical[len(typical) // 2 :]
    scale = np.where(x[known].std(axis=0) > 0, x[known].std(axis=0), 1)
    fit, inliers, others = ((x[rows] - x[known].mean(axis=0)) / scale for rows in (known, judged, outlying))
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few rows are known, and so are covariances without full rank
            scores = detector(fit, np.concatenate([inliers, others]), seed)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        return {"failed": one_line(error)}
    if not np.isfinite(scores).all():
        return {"failed": f"{int((~np.isfinite(scores)).sum())} scores are not finite"}
    return {
        "auroc": evaluate.auroc(scores[: len(inliers)], scores[len(inliers) :]),
        "ap": float(average_precision_score(np.arange(len(scores)) >= len(inliers), -scores)),
        "seconds": time.perf_counter() - started,
    }


def write(out: Path, about: dict[str, Any], cells: dict[str, Any]) -> None:
    """Write outliers.json and outliers.md with the cells that have been measured so far."""
    shown = [name for name in DETECTORS if any(name in found for task in cells.values() for found in task.values())]
    text = [
        "# Outliers, one class at a time\n\nDetectors fitted to half of the rows of one class rank the other half "
        "above all other classes. Means over seeds, of the tasks on which a detector had a result; in brackets the "
        "90 % interval of the mean over tasks, by resampling them, and over seeds, by Student's t."
    ]
    for metric, title in METRICS.items():
        table = {
            task: [
                np.mean(values)
                if (values := [f[name][metric] for f in found.values() if metric in f.get(name, {})])
                else None
                for name in shown
            ]
            for task, found in cells.items()
        }
        means = [
            mean_with_interval([row[i] for row in table.values() if row[i] is not None]) for i in range(len(shown))
        ]
        rows = [["**mean** (over tasks)", *means]]
        rows += [
            [f"**mean** (over seeds{of})", *_over_seeds(part, shown, metric)] for of, part in _groups(cells).items()
        ]
        rows += [[task, *("-" if v is None else f"{v:.3f}" for v in row)] for task, row in table.items()]
        text += [f"## {title}", markdown_table(["", *shown], rows)]
    seeds = sorted({int(seed) for found in cells.values() for seed in found})
    failed = sorted(
        {f"{name}: {v['failed']}" for t in cells.values() for f in t.values() for name, v in f.items() if "failed" in v}
    )
    text += [f"Seeds {', '.join(map(str, seeds))}."] + (["Without a result: " + "; ".join(failed)] if failed else [])
    write_results(out, "outliers", "\n\n".join(text), {"about": about, "cells": cells})


def _groups(cells: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all tasks, and if there are both the classes of tables that ship with scikit-learn, and the files."""
    classes = {task: found for task, found in cells.items() if task.rpartition(" ")[0] in SHIPPED}
    files = {task: found for task, found in cells.items() if task not in classes}
    return {"": cells} | ({", classes": classes, ", files": files} if classes and files else {})


def _over_seeds(cells: dict[str, Any], shown: list[str], metric: str) -> list[str]:
    return [mean_over_seeds(cells, name, metric) for name in shown]


def mean_with_interval(values: list[Any]) -> str:
    """Return the mean of values, with its 90 % bootstrap interval."""
    if not values:
        return "-"
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def mean_over_seeds(cells: dict[str, Any], name: str, metric: str) -> str:
    """Return the mean of a detector over its tasks, with the 90 % interval over seeds; `-` for fewer than two seeds."""
    seeds = sorted({seed for found in cells.values() for seed in found})
    rows = [[found.get(seed, {}).get(name, {}).get(metric) for seed in seeds] for found in cells.values()]
    whole = [row for row in rows if None not in row]  # so that every seed has the same tasks
    if len(seeds) < 2 or not whole:
        return "-"
    means = np.mean(np.array(whole, float), axis=0)
    half = stats.t.ppf(0.95, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return f"{means.mean():.3f} ({means.mean() - half:.3f} to {means.mean() + half:.3f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
