"""How our time grows with samples, outputs and arithmetic, and the exponents that fit."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.report import markdown_table, write_results
from benchmarks.score_speed.arguments import Arguments
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.contestants import prepare, run_process
from benchmarks.score_speed.tables import print_table


def measure_scaling(arguments: Arguments, out: Path, about: dict[str, Any], console: Console) -> int:
    """Measure our time for several sizes of a ViT-S/14 at 98 px; print and write the table.

    Args:
      arguments: Options of the benchmark.
      out: Folder for score_speed_scaling.json and .md.
      about: Environment and settings, written beside the results.
      console: Console for progress and the table.

    Returns:
      0; 1 if the contestant failed.
    """
    case = CASES["vit_s_98"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, case, 1, arguments)
        result = run_process("benchmarks.score_speed.ours", folder, "scaling", arguments, console, "scaling")
    if "failed" in result:
        console.print(f"scaling: {result['failed']}")
        return 1
    cells, exponents = [], {}
    for axis, points in result["points"].items():
        if len(points) > 1:
            sizes, seconds = np.array(points).T
            exponents[axis] = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        cells += [[axis, f"{size:.4g}", f"{seconds:.3g}", ""] for size, seconds in points]
        cells.append([axis, "", "", f"{exponents[axis]:.2f}" if axis in exponents else "not within the limit"])
    header = ["axis", "size", "seconds", "exponent"]
    print_table(console, f"{case.label}: our time against size", header, cells)
    text = f"""# JEPA-SCORE: our time against size

ViT-S/14 at 98 px, median after a warm-up. An exponent of 1 is linear growth.

{markdown_table(header, cells)}"""
    tree = {"about": about, "points": result["points"], "exponents": exponents}
    write_results(out, "score_speed_scaling", text, tree)
    return 0
