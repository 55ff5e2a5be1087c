"""The contestants of a case: each runs in its own process, which reads files and writes its result."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.report import save_tree
from benchmarks.score_speed.arguments import Arguments
from benchmarks.score_speed.cases import CASES, SINGLE, Case
from benchmarks.score_speed.summary import distance, summarise
from benchmarks.score_speed.weights import random_mlp, random_vit
from score.workers import cores

ROOT = Path(__file__).parents[2]
GPU_PRECISIONS = ("bf16x6", "tf32x3", "bf16x3", "tf32", "bf16")  # measured on a GPU beside float32


def measure(name: str, row: dict[str, Any], arguments: Arguments, platform: str, console: Console) -> Iterator[None]:
    """Run all contestants of a case and yield after each.

    Args:
      name: Name of the case.
      row: Results of the case, which are filled in. Scores are compared here and not kept.
      arguments: Options of the benchmark.
      platform: Platform of the default device: `cpu` or `gpu`.
      console: Console for progress.
    """
    case, samples = CASES[name], number_of_samples(name, arguments, platform)
    row.update(samples=samples, platform=platform, nominal_flops=case.flops())
    cpu_vit = platform == "cpu" and case.vit is not None
    more = ["listing tf32"] if platform == "gpu" else [SINGLE] if cpu_vit else []
    more = more if "listing" in arguments.peers else []
    precisions = arguments.precisions or ("float32", *(GPU_PRECISIONS if platform == "gpu" and case.vit else ()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, case, samples, arguments)

        def run(name: str, module: str, contestant: str) -> dict[str, Any]:
            result = run_process(module, folder, contestant, arguments, console, f"{case.label}: {name}")
            if "seconds" in result:
                console.print(f"{case.label}: {name}: {np.median(result['seconds']):.3g} s per sample", highlight=False)
            return result

        row["reference"] = run("reference", "benchmarks.score_speed.peers", "reference") if arguments.reference else {}
        exact = row["reference"].pop("scores", None)
        float32 = None
        several = ("processes",) if cpu_vit and len(cores()) > 1 else ()
        for precision in (*precisions, *several):
            key = "ours" if precision == "float32" else f"ours {precision}"
            result = run(key, "benchmarks.score_speed.ours", precision)
            scores = result.pop("scores", None)
            float32 = scores if precision == "float32" else float32
            if scores is not None:
                result["nats_from_float64"] = distance(scores, exact)
                result["nats_from_float32"] = distance(scores, float32)
            row["contestants"][key] = result
            yield summarise(row, case)
        for peer in (*arguments.peers, *more):
            row["contestants"][peer] = run(peer, "benchmarks.score_speed.peers", peer)
            yield summarise(row, case)


def number_of_samples(name: str, arguments: Arguments, platform: str) -> int:
    """Return the number of samples of a case that we score."""
    if arguments.samples is not None:
        return arguments.samples
    most = CASES[name].samples[platform == "gpu"]
    return min(most, 20_000 if name == "toy" else 2) if arguments.quick else most


def prepare(folder: Path, case: Case, samples: int, arguments: Arguments) -> None:
    """Write the files that every contestant reads: params.npz, images.npy and case.json."""
    rng = np.random.default_rng(0)
    save_tree(folder / "params.npz", random_mlp(rng) if case.vit is None else random_vit(rng, **case.vit))
    shape = (2,) if case.vit is None else (case.vit["image_size"], case.vit["image_size"], 3)
    np.save(folder / "images.npy", rng.standard_normal((samples, *shape), np.float32))
    settings = {
        **dataclasses.asdict(case),
        "dim": case.dim,
        "null": case.null_values,
        "chunks": {"cpu": (8, 32), "cuda": (64, case.dim)},
        "peer_samples": 2 * max(case.batches) if case.vit is None else samples,
        "reference_samples": 1 if arguments.quick and case.vit else case.reference_samples,
        "repeats": arguments.repeats,
        # Less than the limit, because a process also starts and loads, and its estimates are not exact.
        "seconds": 0.8 * arguments.limit_seconds,
    }
    (folder / "case.json").write_text(json.dumps(settings))


def run_process(
    module: str, folder: Path, contestant: str, arguments: Arguments, console: Console, label: str
) -> dict[str, Any]:
    """Run `python -m MODULE FOLDER CONTESTANT` and return its result.

    Args:
      module: Module that runs the contestant.
      folder: Folder that `prepare` filled; the module writes result.json in it.
      contestant: Name of the contestant.
      arguments: Options of the benchmark, with the time limit.
      console: Console for progress.
      label: Text that is shown while the process runs.

    Returns:
      Content of result.json and `process_seconds`; or `failed`, the reason in one line.
    """
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    environ = {key: value for key, value in os.environ.items() if key != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    started = time.perf_counter()
    with console.status(label), log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder), contestant],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the processes of a compiler end with it
        )
        try:
            process.wait(arguments.limit_seconds)
        except subprocess.TimeoutExpired:
            return {"failed": f"not done within {arguments.limit_seconds:g} s"}
        finally:
            end(process)
    if not result.exists():
        lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
        return {"failed": (lines[-1] if lines else f"ended with code {process.returncode}")[:160]}
    return {**json.loads(result.read_text()), "process_seconds": time.perf_counter() - started}


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and the processes that it started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    process.wait()
