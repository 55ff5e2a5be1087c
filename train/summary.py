"""Text output of a run: one line per evaluation, summary.json, and the result in words."""

import json
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically

from .log import clean
from .monitor import Look

AGREEMENT_LABELS = {
    "density/spearman": "Spearman of the score with the exact log-density",
    "density/log_density_spearman": "Spearman of the corrected log-density",
    "density/top_log_density_spearman": "the same, leading singular values only",
    "density/tangent_log_density_spearman": "the same, on the manifold's tangent",
}


def progress_line(step: int, row: dict[str, Any], verdict: str | None, start: str = "untrained") -> str:
    """Return one line for the terminal.

    Args:
      step: Step of the evaluation.
      row: Metrics by name.
      verdict: Verdict in words, or ""; None for the encoder before the first step.
      start: Name of the encoder before the first step.
    """
    corrected = row.get("density/log_density_spearman") != row.get("density/spearman")
    agreement = [
        f"{label} {row[name]:.3f}"
        for label, name in (
            ("spearman", "density/spearman"),
            *([("corrected", "density/log_density_spearman")] if corrected else []),
            ("on the tangent", "density/tangent_log_density_spearman"),
            ("linear probe", "probe/linear"),
            ("held-out nats", "heldout_nats"),
        )
        if np.isfinite(row.get(name, np.nan))
    ]
    shown = ", ".join(agreement) or f"mean score {row['density/score_mean']:.1f} nats"
    if verdict is None:
        return f"{start:12} {shown}"
    return f"step {step:>6}  loss {row['loss']:.4f}  {shown}  {verdict}".rstrip()


def about(look: Look, encoder: Encoder, law: str) -> dict[str, Any]:
    """Return the entries of the summary that are not metrics; `law` is that of `density.law`."""
    device = jax.devices()[0].device_kind
    found = {
        "law": encoder.base if law == "assumed" else law,
        "verdict": look.health.verdict,
        "health_sentence": look.health.sentence,
    }
    return found | {"device": device}


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write the file summary.json."""
    text = json.dumps({k: clean(v) for k, v in summary.items()}, indent=2) + "\n"
    write_atomically(out / "summary.json", lambda path: path.write_text(text))


def print_summary(summary: dict[str, Any], out: Path, source: str, score: tuple[str, ...]) -> None:
    """Print the result in words, and the next command.

    Args:
      summary: Summary of the run.
      out: Folder of the run.
      source: Data of the run, in the syntax of `data.source`.
      score: Command that starts the score program.
    """
    # A number that is not finite says nothing, such as the agreement of a constant.
    summary = {name: value for name, value in summary.items() if clean(value) is not None}
    start = "at the start" if "init_from" in summary else "untrained"
    for name, label in AGREEMENT_LABELS.items():
        # On the sphere the correction is a constant, so the two numbers would be equal.
        if summary.get(name) is not None and not ("log_density" in name and summary["law"] == "sphere"):
            before = summary.get(f"{name}_untrained")
            print(f"{label}: {summary[name]:.4f}" + ("" if before is None else f" ({start} {before:.4f})"))
    if summary.get("probe/linear") is not None:
        probe = {
            name: f"{summary.get(f'probe/{name}', np.nan):.3f}" for name in ("linear_untrained", "linear_pca", "knn")
        }
        print(
            f"Linear probe on held-out samples: {summary['probe/linear']:.3f} ({start} {probe['linear_untrained']}, "
            f"principal components {probe['linear_pca']}); k-NN {probe['knn']}"
        )
    for name in sorted(k for k in summary if k.startswith("auroc/") and not k.endswith("_untrained")):
        other, before = name.removeprefix("auroc/"), summary.get(f"{name}_untrained", np.nan)
        print(f"AUROC of the score against {other} samples: {summary[name]:.3f} ({start} {before:.3f})")
    if summary.get("heldout_nats") is not None:
        others = {"heldout_nats_kde": "kernel density estimate", "heldout_nats_gmm": "Gaussian mixture"}
        beside = [f"{label} {summary[name]:.3f}" for name, label in others.items() if summary.get(name) is not None]
        shown = f" ({', '.join(beside)})" if beside else ""
        print(f"Mean log-density of held-out samples: {summary['heldout_nats']:.3f} nats{shown}")
    _print_calibration(summary)
    print(summary["health_sentence"])
    if summary.get("best_step") not in (None, summary["step"]) and not summary.get("best_is_result"):
        print(f"best at step {summary['best_step']}: score it with --step best")
    _print_times(summary)
    if "figure" in summary:
        print(f"picture: {summary['figure']}")
    print(f"next: {shlex.join((*score, str(out), '--data', source))}")


def _print_calibration(summary: dict[str, Any]) -> None:
    """Print what turns the density into nats, or why nothing does."""
    size = summary.get("calibration/sample_size")
    if size is None:
        return
    if summary.get("calibration/log_z") is None:
        print(
            f"Not in nats: importance sampling has an effective sample size of {size:.2f}, too small to normalise the "
            "density; it ranks samples only"
        )
        return
    gamma, log_z = summary["calibration/gamma"], summary["calibration/log_z"]
    print(
        f"Calibrated: log p = {gamma:.2f} s {-log_z:+.2f}, s the learned log-density; mean of held-out samples "
        f"{summary['calibration/nats']:.3f} nats (effective sample size {size:.2f})"
    )


def _print_times(summary: dict[str, Any]) -> None:
    if summary.get("data/idle_share") is not None:
        print(f"the devices waited for data at most {100 * summary['data/idle_share']:.0f} % of the time")
    if summary.get("monitor/time_share") is not None:
        watching, drawing = (round(100 * summary[f"{name}/time_share"]) for name in ("monitor", "figures"))
        print(f"monitors took {watching} % of the time and pictures {drawing} %, compilation aside")
