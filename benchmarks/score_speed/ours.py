"""Our contestants, each in its own process.

    python -m benchmarks.score_speed.ours FOLDER PRECISION

FOLDER holds case.json, params.npz and images.npy; the result is written to FOLDER/result.json. PRECISION is that of the
matrix products; `processes`, which scores in float32 in one process per core, as `python -m score` does; or `scaling`,
which measures how time grows with the problem's size.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.report import load_tree, matmul_rate, process_memory, repeated, write_result
from benchmarks.score_speed.cases import TOY_WIDTHS, Case
from benchmarks.score_speed.weights import normal, random_vit
from jepa_jax import config as cfg
from jepa_jax.density import score_samples, trace_batch
from jepa_jax.density.jacobian import arithmetic
from jepa_jax.encoder import Encoder
from jepa_jax.matmuls import matmul_flops
from jepa_jax.models import build
from jepa_jax.models.vit import ViT, vit_encoder
from jepa_jax.sharding import data_mesh
from score.workers import cores, keep_to, one_thread_each

EPS = 1e-6  # smallest singular value that a score distinguishes
MAX_SCORES = 1000  # scores that are returned for the comparison
SCALING_SAMPLES = {"cpu": (1, 2, 4), "gpu": (8, 16, 32)}
SCALING_DEPTHS = (4, 8, 12)


def timed(folder: Path, case: dict[str, Any], precision: Any) -> dict[str, Any]:
    """Score all samples once with compilation, then repeatedly within the time limit."""
    until = time.perf_counter() + case["seconds"]
    encoder, xs = make_encoder(case, load_tree(folder / "params.npz")), jnp.asarray(np.load(folder / "images.npy"))
    before = product_rate(precision)
    scores: list[np.ndarray] = []

    def run() -> None:
        scores[:] = [np.asarray(score_samples(encoder, xs, precision=precision))]

    [first] = repeated(run, 1, float("inf"))
    seconds = repeated(run, case["repeats"], until) or [first]
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return {
        "seconds": [s / len(xs) for s in seconds],
        "first_seconds": first,
        "extrapolated": False,
        "with_compilation": len(seconds) == 1 and seconds[0] == first,
        # Ours counts singular values that are null by construction as EPS, and the reference leaves them out.
        "scores": (scores[0] - case["null"] * np.log(EPS)).tolist()[:MAX_SCORES],
        "memory": stats["peak_bytes_in_use"] if stats else process_memory(),
        "flops": flops(encoder),
        "about": precision,
        "device": jax.devices()[0].device_kind,
        "matmul_rate": max(before, product_rate(precision)),
    }


def together(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Score all samples in every one of as many processes as there are cores, at the same time.

    The seconds per sample are those of the slowest process in each repetition, divided by the number of processes.
    """
    places = cores()
    with one_thread_each(), ProcessPoolExecutor(len(places), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_on_core, [folder] * len(places), [case] * len(places), places))
    rounds = zip(*(result["seconds"] for result in found), strict=False)
    return found[0] | {
        "seconds": [max(seconds) / len(found) for seconds in rounds],
        "first_seconds": max(result["first_seconds"] for result in found),
        "memory": sum(result["memory"] for result in found),
        "matmul_rate": sum(result["matmul_rate"] for result in found),
        "about": f"float32, {len(found)} processes of one core",
    }


def _on_core(folder: Path, case: dict[str, Any], core: int) -> dict[str, Any]:
    keep_to(core)
    return timed(folder, case, "float32")


def make_encoder(case: dict[str, Any], params: dict[str, Any]) -> Encoder:
    """Return our encoder with the weights that all contestants have."""
    params = jax.tree.map(jnp.asarray, params)
    if case["vit"] is not None:
        return vit_encoder(ViT(**case["vit"]), params)
    model = build(cfg.MLP(widths=TOY_WIDTHS[1:-1], dim=TOY_WIDTHS[-1]), TOY_WIDTHS[:1], "sphere")
    return Encoder(params, model.apply, TOY_WIDTHS[:1], model.dim, None, model.null_directions)


def flops(encoder: Encoder) -> int:
    """Return the FLOPs of the matrix products that one score takes in float32."""
    mesh, x = data_mesh(jax.devices()[:1]), jax.ShapeDtypeStruct(encoder.shape, jnp.float32)
    return matmul_flops(trace_batch(encoder, encoder, x, 1, mesh=mesh, batch_size=1)[0].jaxpr.jaxpr)


def product_rate(precision: Any) -> float:
    """Return the FLOP/s of matrix products on the default device in this precision."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = jax.random.normal(jax.random.key(0), (2, side, side))
    with arithmetic(precision, jax.default_backend()):
        multiply = jax.jit(lambda a, b: a @ b).lower(a, b).compile()
    return matmul_rate(lambda: multiply(a, b).block_until_ready(), side)


def scaled(case: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds for more samples, more outputs and more blocks, each after its own warm-up."""
    rng = np.random.default_rng(0)
    until = time.perf_counter() + case["seconds"]
    counts = SCALING_SAMPLES["cpu" if jax.default_backend() == "cpu" else "gpu"]
    sizes = case["vit"]
    xs = jnp.asarray(normal(rng, (counts[-1], sizes["image_size"], sizes["image_size"], 3), 1.0))
    encoder = make_encoder(case, random_vit(rng, **sizes))
    points: dict[str, list[tuple[float, float]]] = {"samples": [], "outputs": [], "nominal FLOPs": []}

    def add(axis: str, size: float, f: Encoder, xs: jax.Array) -> None:
        def run() -> None:
            score_samples(f, xs).block_until_ready()

        if repeated(run, 1, until) and (seconds := repeated(run, case["repeats"], until)):
            points[axis].append((size, float(np.median(seconds))))

    for count in counts:
        add("samples", count, encoder, xs[:count])
    for depth in SCALING_DEPTHS:
        deep = {"vit": {**sizes, "depth": depth}}
        f = make_encoder(deep, random_vit(rng, **deep["vit"]))
        add("nominal FLOPs", Case("", deep["vit"]).flops(), f, xs[: counts[0]])
    for outputs in (case["dim"] // 4, case["dim"] // 2, case["dim"]):
        add("outputs", outputs, first_outputs(encoder, outputs), xs[: counts[0]])
    return {"points": points}


def first_outputs(encoder: Encoder, outputs: int) -> Encoder:
    """Return the encoder's first outputs as an encoder without the structure of a ViT."""
    apply: Callable[..., Any] = encoder.apply
    return Encoder(encoder.params, lambda params, x: apply(params, x)[:outputs], encoder.shape, outputs)


def main(args: list[str]) -> int:
    """Write FOLDER/result.json.

    Returns:
      0; 1 if the contestant failed, in which case the file gives the reason in one line.
    """
    folder, precision = Path(args[0]), args[1]
    case = json.loads((folder / "case.json").read_text())
    special = {"scaling": lambda: scaled(case), "processes": lambda: together(folder, case)}
    return write_result(folder, special.get(precision, lambda: timed(folder, case, precision)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
