"""Tables of the results, on the console and in markdown."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import markdown_table, write_results
from benchmarks.score_speed.summary import MAX_NATS, gigabytes

HEADER = ["contestant", "s/sample", "time / ours", "nats, f64", "nats, f32", "TFLOP/s", "of matmul", "used", "GB"]


def table_rows(row: dict[str, Any]) -> list[list[str]]:
    """Return the table of a case, with the contestants that did not fail."""
    return [
        [
            name,
            f"{'about ' if result['extrapolated'] else ''}{result['seconds_per_sample']:.3g}",
            shown(result.get("ratio"), ".2f"),
            shown(result.get("nats_from_float64"), ".1e"),
            shown(result.get("nats_from_float32"), ".1e"),
            f"{result['nominal_rate'] / 1e12:.3g}",
            f"{100 * result['fraction']:.0f} %",
            shown(result.get("used"), ".0%"),
            shown(gigabytes(result), ".2f"),
        ]
        for name, result in row["contestants"].items()
        if "failed" not in result
    ]


def settings(name: str, result: dict[str, Any]) -> str:
    """Return the settings of a contestant, or the reason why it failed."""
    if "failed" in result:
        return f"{name}: {result['failed']}"
    parts = [str(result["about"]), str(result["device"])]
    if result["extrapolated"]:
        parts.append(f"extrapolated from {result['outputs']} outputs")
    if result.get("with_compilation"):
        parts.append("compilation included")
    return f"{name}: {', '.join(parts)}"


def shown(value: float | None, form: str) -> str:
    """Return a number in this format, or a dash for None."""
    return "-" if value is None else format(value, form)


def remarks(row: dict[str, Any]) -> list[str]:
    """Return the lines below a table: settings, spectrum, total time, fastest precision, goals."""
    mine, exact = row["contestants"].get("ours", {}), row.get("reference", {})
    lines = [settings(name, result) for name, result in row["contestants"].items()]
    if "sigma_max" in exact:
        null = exact["sigma_null"]
        without = "" if null is None else f", without those that are null by construction (at most {null:.1e})"
        lines.append(f"singular values from {exact['sigma_min']:.3g} to {exact['sigma_max']:.3g}{without}")
    elif "failed" in exact:
        lines.append(f"no float64 reference: {exact['failed']}")
    if "first_seconds" in mine:
        lines.append(f"ours: {row['samples']} samples in {mine['first_seconds']:.2f} s, compilation included")
    if row["platform"] == "gpu" and "fastest" in row:
        lines.append(f"fastest within {MAX_NATS:g} nat of float32: {row['fastest']}")
    for bar in row.get("bars", ()):
        value = "not measured" if bar["value"] is None else f"{bar['value']:.3g}"
        lines.append(f"{bar['text']}: {value} (goal: {'at most' if bar['at_most'] else 'at least'} {bar['bar']:g})")
    return lines


def report(row: dict[str, Any], console: Console) -> None:
    """Print the table of a case and the remarks below it."""
    print_table(console, row["label"], HEADER, table_rows(row))
    for line in remarks(row):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, title: str, header: list[str], lines: list[list[str]]) -> None:
    """Print a table on the console."""
    table = Table(*header, title=title)
    for line in lines:
        table.add_row(*line)
    console.print(table)


def write(folder: Path, name: str, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write NAME.json and NAME.md with the results so far.

    Args:
      folder: Folder of the files.
      name: Name of the files without suffix.
      rows: Results of each case.
      about: Environment and settings.
    """
    text = f"""# JEPA-SCORE per sample, ours against the paper's PyTorch listing

Median of up to {about["repeats"]} repetitions after a warm-up. Each contestant ran in its own process, all in one run
of the benchmark. The rate is nominal: K times the matrix products of one gradient through the whole model, regardless
of what a method computes. Its share ("of matmul") is relative to the rate of plain matrix products in the same process
and precision; "used" is the same share in the operations that our program really does. The nats are the largest
distance of our scores from the listing's in float64, and from ours in float32.
GB is the peak memory of the process, or of the card (at least the 0.8 GB of the matrix products).
"""
    for row in rows:
        remarked = "\n".join(f"- {line}" for line in remarks(row))
        text += f"\n## {row['label']}\n\n{markdown_table(HEADER, table_rows(row))}\n\n{remarked}\n"
    write_results(folder, name, text.rstrip(), {"about": about, "cases": rows})
