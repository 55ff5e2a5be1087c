"""Output of a score run beside its table: the summary, the pictures and the report."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np
from PIL import Image

from jepa_jax import evaluate, plots
from jepa_jax.data import LazyImages, Samples
from jepa_jax.files import write_atomically
from jepa_jax.images import MARK
from jepa_jax.images.preprocessing import Preprocessing

from .options import Arguments
from .page import Page, Suspects, write_report
from .scorer import PREDICTED_CODE, Scorer
from .table import reason, row_ids

MAX_LISTED_ROWS = 1000  # rows without a score that the summary lists
THUMBNAIL_PIXELS = 128  # side of an image in a picture


def thumbnails(samples: Samples, preprocessing: Preprocessing | None) -> Callable[[int], Image.Image | None] | None:
    """Return a function from a row to its picture, or None if the samples are not images.

    The function returns None for an image that cannot be read.

    Args:
      samples: Samples that were scored.
      preprocessing: Recipe of the encoder, or None.
    """
    xs = samples.x
    if isinstance(xs, LazyImages):
        return lambda row: xs.thumbnail(row, THUMBNAIL_PIXELS)
    if xs.ndim != 4 or xs.shape[-1] not in (1, 3):
        return None
    if preprocessing is None or not preprocessing.standardises:
        return plots.as_images(xs)
    return lambda row: preprocessing.as_image(xs[row])


def write_spectra(path: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    """Write the singular values of all rows and their ids."""
    write_atomically(path, lambda p: np.savez(p, singular_values=rows["singular_values"], id=ids))


def summarise(
    a: Arguments, scorer: Scorer, rows: np.ndarray, samples: Samples, seconds: float | None
) -> dict[str, Any]:
    """Return the content of FILE.json.

    Args:
      a: Arguments of the program.
      scorer: Scorer that computed the rows.
      rows: Records of all rows.
      samples: Samples that were scored.
      seconds: Seconds per sample; None if this call scored no sample.
    """
    scored = rows["reason"] == 0
    ids = row_ids(samples)
    bad = np.flatnonzero(~scored & (rows["reason"] != PREDICTED_CODE))
    return {
        "model": a.model,
        "data": a.data,
        "preprocessing": samples.x.preprocessing.to_dict() if isinstance(samples.x, LazyImages) else None,
        "count": len(rows),
        "options": {k: v for k, v in vars(a).items() if k not in ("model", "data")},
        "device": jax.devices()[0].device_kind,
        "devices": 1 if scorer.mesh is None else scorer.mesh.size,
        "seconds_per_sample": seconds,
        "score_mean": float(rows["score"][scored].mean(dtype=np.float64)) if scored.any() else None,
        "clipped_mean": float(rows["clipped"][scored].mean()) if scored.any() else None,
        "null_directions": scorer.encoder.null_directions,
        "law": scorer.encoder.base,
        **({} if samples.passed_over is None else {"passed_over": samples.passed_over}),
        "without_score_count": len(bad),
        "without_score": [
            {"id": ids[i].item(), "reason": reason(samples, rows, i)} for i in bad[:MAX_LISTED_ROWS].tolist()
        ],
        **({"spread_median": float(np.median(rows["spread"][scored]))} if _has_spread(rows) and scored.any() else {}),
        **truth(rows[scored], None if samples.log_density is None else samples.log_density[scored]),
    }


def _has_spread(rows: np.ndarray) -> bool:
    return "spread" in (rows.dtype.names or ())


def truth(rows: np.ndarray, exact: np.ndarray | None) -> dict[str, float]:
    """Return the agreement of rows that have a score with the exact log-density [N]; empty if that is not known."""
    if exact is None or len(rows) < 2:
        return {}
    corrected = rows["log_density"] if np.isfinite(rows["log_density"]).all() else None
    found = evaluate.density_agreement(rows["score"], exact, corrected)
    if "top" in (rows.dtype.names or ()):
        found |= evaluate.part_agreement({"top": rows["top"]}, exact)
    return found


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write FILE.json; a number that is not finite becomes null, because JSON has no such numbers."""
    write_atomically(path, lambda p: p.write_text(json.dumps(_finite(summary), indent=2) + "\n"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_page(
    path: Path,
    summary: dict[str, Any],
    rows: np.ndarray,
    samples: Samples,
    sigma: np.ndarray,
    thumbnail: Callable[[int], Image.Image | None] | None,
    suspects: Suspects | None = None,
) -> None:
    """Write the HTML report.

    Args:
      path: File to write.
      summary: Summary of the run.
      rows: Records of all rows.
      samples: Samples that were scored.
      sigma: Singular values [n, R] of some samples.
      thumbnail: Result of `thumbnails`.
      suspects: Samples to look at for curation, or None.
    """
    page = Page(
        title=f"Learned density of {Path(summary['data']).name or summary['data']}",
        model=summary["model"],
        data=summary["data"],
        summary=summary,
        ids=row_ids(samples),
        score=rows["score"],
        log_density=rows["log_density"],
        clipped=rows["clipped"],
        reasons=[reason(samples, rows, i) for i in range(len(rows))],
        truth=samples.log_density,
        sigma=sigma[np.isfinite(sigma).all(axis=1)],
        thumbnail=thumbnail or (lambda row: None),
        labels=None if samples.label is None else [str(label) for label in samples.label],
        suspects=suspects,
        link=links(samples, path),
    )
    write_report(path, page)


def links(samples: Samples, page: Path) -> Callable[[int], str | None]:
    """Return a function from a row to the address of its image file as a page links to it, None without a file.

    The address is relative, so that a folder may be moved with the page in it, except to another drive.

    Args:
      samples: Samples that were scored.
      page: Path of the page.
    """
    xs = samples.x

    def link(row: int) -> str | None:
        file = xs.path(row) if isinstance(xs, LazyImages) else None
        if file is None:
            return None
        try:
            return quote(os.fsencode(Path(os.path.relpath(file, page.parent)).as_posix()))
        except ValueError:  # there is no way from one drive to another
            return file.absolute().as_uri()

    return link


def draw(
    out: Path,
    rows: np.ndarray,
    samples: Samples,
    sigma: np.ndarray,
    thumbnail: Callable[[int], Image.Image | None] | None,
) -> list[Path]:
    """Write the pictures beside the CSV and return their paths.

    The first shows the scores against the exact log-density (or their histogram) and the spectrum; for images, a second
    one shows the most and the least likely. Neither includes rows without a score.

    Args:
      out: Path of the CSV.
      rows: Records of all rows.
      samples: Samples that were scored.
      sigma: Singular values [n, R] of some samples.
      thumbnail: Result of `thumbnails`.
    """
    everyone, scored = rows["score"], rows["reason"] == 0
    rows = rows[scored]
    figure = plots.Figure(figsize=(10, 4.3), dpi=85, layout="constrained")
    left, right = figure.subplots(1, 2)
    if samples.log_density is not None and len(rows) > 1:
        corrected = np.isfinite(rows["log_density"]).all()
        learned, exact = rows["log_density" if corrected else "score"], samples.log_density[scored]
        agreement = evaluate.agreement(learned, exact)
        plots.scatter(left, learned, exact, agreement.spearman, agreement.slope)
    else:
        left.hist(rows["score"], bins=60)
        left.set(xlabel="JEPA-SCORE, nats", ylabel="samples", title=f"{len(rows)} samples")
    finite = np.isfinite(sigma).all(axis=1)
    if finite.any():
        plots.spectrum(right, sigma[finite])
    paths = [out.with_suffix(".png")]
    write_atomically(paths[0], lambda temporary: figure.savefig(temporary, metadata=MARK))
    if thumbnail is not None and len(rows):
        gallery = plots.Figure(figsize=(10, 4.8), dpi=85, layout="constrained")
        plots.extremes(gallery, thumbnail, everyone)
        paths.append(out.with_name(f"{out.stem}_extremes.png"))
        write_atomically(paths[1], lambda temporary: gallery.savefig(temporary, metadata=MARK))
    return paths
