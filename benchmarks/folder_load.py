"""Load test: score a folder of many small pictures, killed half-way and continued, with memory and pace over time.

    python -m benchmarks.folder_load [--pictures 100000] [--out DIR]

Hardware: any CPU, with a gigabyte on disk for 100,000 pictures; about three minutes on two cores. Pictures of 16 x 16
pixels are drawn by seed in folders of a thousand, and an encoder of the digits, trained for a few steps, scores them
through `python -m score RUN --data FOLDER --out T.parquet` in a process of its own. That process is killed when half of
the rows are on disk, and the same command goes on. The memory is that of the process and its workers, read every half
second. Goals: from a third of a call's rows on the memory grows by less than a tenth; the second call starts where the
rows on disk end; pictures have the scores that they have in a small folder. Results go to OUT/DEVICE/folder_load.json
and .md, with a picture.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.report import environment, exit_status, markdown_table, results_folder, write_results
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.progress import progress
from score.scores import Scores

SIDE = 16
EACH = 1000  # pictures in a folder
EVERY = 0.5  # seconds between looks
MAX_GROWTH = 1.1  # goal: largest memory of the process, relative to that at a tenth of the pictures
RECORD = 13  # bytes of a row of `score.scorer`: score, log-density, clip count, reason
CHECKED = 200  # pictures that are scored again, alone


@dataclass(frozen=True)
class Args:
    """Arguments of the benchmark."""

    pictures: int = 100_000
    """Number of pictures."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def main(argv: list[str] | None = None) -> int:
    """Run the load test and return the exit status."""
    return exit_status(lambda: _measure(argv))


def _measure(argv: list[str] | None) -> Path:
    args = parse(Args, sys.argv[1:] if argv is None else argv, prog="benchmarks.folder_load", description=__doc__ or "")
    if args.pictures < 10 * CHECKED:
        raise ConfigError(f"--pictures is {args.pictures}; it must be at least {10 * CHECKED}")
    folder, console = results_folder(str(args.out)), Console(stderr=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        names = draw(root / "pictures", args.pictures, console)
        model = train(root / "model")
        table = root / "scores.parquet"
        command = [sys.executable, "-m", "score", str(model), "--data", str(root / "pictures"), "--out", str(table)]
        first = list(watch(command, table, stop_at=args.pictures // 2))
        second = list(watch(command, table))
        found = Scores(table)
        score = found.numbers("score")
        few = root / "few"
        few.mkdir()
        chosen = np.random.default_rng(1).choice(args.pictures, CHECKED, replace=False)
        for i in chosen:
            (few / Path(names[i]).name).symlink_to(root / "pictures" / names[i])
        alone = root / "alone.csv"
        subprocess.run([*command[:4], "--data", str(few), "--out", str(alone)], check=True, capture_output=True)
        by_name = dict(zip((Path(name).name for name in found.ids), score, strict=True))
        again = Scores(alone)
        apart = max(
            abs(by_name[Path(name).name] - value) for name, value in zip(again.ids, again.numbers("score"), strict=True)
        )
    tree = {
        "about": environment() | {"pictures": args.pictures},
        "rows": len(found),
        "scored": int(np.isfinite(score).sum()),
        "largest difference, nats": float(apart),
        "looks": {"first": first, "continued": second},
    }
    draw_curve(folder / "folder_load.png", tree)
    write_results(folder, "folder_load", _markdown(tree), tree)
    return folder / "folder_load.md"


def draw(folder: Path, count: int, console: Console) -> list[str]:
    """Write `count` pictures of random strokes and return their names relative to the folder."""
    rng, names = np.random.default_rng(0), []
    places = np.arange(SIDE, dtype=np.float32)
    with progress(console, count, "pictures written") as bar:
        for start in range(0, count, EACH):
            inside = folder / f"{start // EACH:05d}"
            inside.mkdir(parents=True)
            many = min(EACH, count - start)
            centre = rng.uniform(2, SIDE - 2, (many, 3, 2, 1)).astype(np.float32)
            bumps = np.exp(-((places[None, None, None] - centre) ** 2) / 8)
            pixels = (255 * np.clip(np.einsum("nky,nkx->nyx", bumps[:, :, 0], bumps[:, :, 1]), 0, 1)).astype(np.uint8)
            for i in range(many):
                name = f"{start // EACH:05d}/{start + i:07d}.png"
                Image.fromarray(pixels[i]).save(folder / name)
                names.append(name)
            bar.advance(bar.task_ids[0], many)
    return names


def train(folder: Path) -> Path:
    """Train the encoder of the digits for a few steps and return its folder."""
    command = [sys.executable, "-m", "train", "digits", "--steps", "20", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def watch(command: list[str], table: Path, stop_at: int | None = None) -> Iterator[dict[str, float]]:
    """Run a command and yield seconds, rows on disk and bytes of memory; kill it at so many rows.

    Raises:
      RuntimeError: If the command fails.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            rows, memory = rows_on_disk(table), family_memory(process.pid)
            if memory:
                yield {"seconds": time.perf_counter() - started, "rows": rows, "memory": memory}
            if stop_at is not None and rows >= stop_at:
                process.kill()
                process.wait()
                return
            time.sleep(EVERY)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(log.read())


def rows_on_disk(table: Path) -> int:
    """Return the number of rows that the score program has written beside its table so far."""
    last = 0
    for path in table.parent.glob(f".{table.stem}.csv.*"):
        match = re.search(r"\.(\d{9})\.", path.name)
        if match is None:
            continue
        try:
            with path.open("rb") as file:
                head = len(file.readline())
            last = max(last, int(match[1]) + (path.stat().st_size - head) // RECORD)
        except FileNotFoundError:
            continue
    return last


def family_memory(pid: int) -> int:
    """Return the resident bytes of a process and of those that it started."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        except (OSError, ValueError):
            continue
        if str(pid) in (fields["Pid"].strip(), fields["PPid"].strip()) and "VmRSS" in fields:
            total += 1024 * int(fields["VmRSS"].split()[0])
    return total


def figures(tree: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return, for each call, its rows at the start and the end, its seconds, pace and memory."""
    found = {}
    for name, looks in tree["looks"].items():
        begun = next((look for look in looks if look["rows"] > looks[0]["rows"]), looks[-1])
        # Only while rows are added: afterwards the table and the pictures are written.
        last = next(look for look in looks if look["rows"] == looks[-1]["rows"])
        third = looks[0]["rows"] + (looks[-1]["rows"] - looks[0]["rows"]) / 3
        early = max(look["memory"] for look in looks if look["rows"] <= third)
        most = max(look["memory"] for look in looks)
        found[name] = {
            "from": looks[0]["rows"],
            "to": looks[-1]["rows"],
            "seconds": looks[-1]["seconds"],
            "pictures a second": (last["rows"] - begun["rows"]) / max(last["seconds"] - begun["seconds"], 1e-9),
            "MB in the first third": early / 1e6,
            "MB at most": most / 1e6,
            "growth": most / early,
        }
    return found


def draw_curve(path: Path, tree: dict[str, Any]) -> None:
    """Draw rows and memory over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    rows, memory = figure.subplots(1, 2)
    for name, looks in tree["looks"].items():
        seconds = [look["seconds"] for look in looks]
        rows.plot(seconds, [look["rows"] for look in looks], label=f"{name} call")
        memory.plot(seconds, [look["memory"] / 1e6 for look in looks], label=f"{name} call")
    rows.set(xlabel="seconds", ylabel="rows on disk")
    memory.set(xlabel="seconds", ylabel="memory, MB", ylim=(0, None))
    rows.legend()
    figure.savefig(path, dpi=120)


def _markdown(tree: dict[str, Any]) -> str:
    calls = figures(tree)
    header = ["call", *next(iter(calls.values()))]
    cells = [[name, *(f"{value:.4g}" for value in call.values())] for name, call in calls.items()]
    return f"""# Scoring a folder of {tree["about"]["pictures"]:,} pictures

{SIDE} x {SIDE} pixels each, in folders of {EACH}. The first call was killed when half of the rows were on disk; the
same command continued. Memory of the process and its workers: at most until a third of the call's rows are there, at
most over all, and their ratio (goal: at most {MAX_GROWTH}). {tree["scored"]:,} of {tree["rows"]:,} rows of the Parquet
table have a score. {CHECKED} pictures scored again in a folder of their own differ by at most
{tree["largest difference, nats"]:.1e} nats.

{markdown_table(header, cells)}

![Rows and memory over time](folder_load.png)"""


if __name__ == "__main__":
    sys.exit(main())
