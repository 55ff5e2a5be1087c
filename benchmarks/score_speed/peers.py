"""PyTorch contestants of `benchmarks.score_speed`: JEPA-SCORE as PyTorch users compute it, with our weights.

    python -m benchmarks.score_speed.peers FOLDER CONTESTANT

`score_speed` starts one process for each contestant, so that the peak memory is that of the contestant, and reads
FOLDER/result.json. FOLDER holds case.json, params.npz and images.npy. The contestants:

    listing         the paper's code (arXiv 2510.05949, listing 1), with its fastest batch size and number of threads
    listing single  the same, one image at a time (ViTs on a CPU)
    listing tf32    the same, with matrix products in TF32 (GPU)
    func            torch.func.jacrev with its fastest chunk size
    compiled        the same through torch.compile, or, where that fails, the listing on a compiled model
    reference       the listing in float64, on the first few samples, for its singular values

A contestant that is too slow for the time limit is timed on some of the K outputs and extrapolated; its result says so.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.listing import EPS, Toy, ViT, listing_jacobian, log_sum
from benchmarks.report import load_tree, matmul_rate, process_memory, repeated, write_result
from benchmarks.score_speed.plans import (
    DEVICE,
    TRIAL_OUTPUTS,
    Plan,
    choose,
    compiled,
    cycled,
    plans,
    seconds_per_output,
    wait,
)


def compete(name: str, folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Time one contestant and return its result for JSON."""
    until = time.perf_counter() + case["seconds"]
    torch.set_float32_matmul_precision("high" if name.endswith("tf32") else "highest")
    model, images = load(folder, case)
    images = images[: case["peer_samples"]]
    plan, each = choose(plans(name, case), model, images)
    rates = [product_rate()]
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    if name == "compiled":
        plan = compiled(plan, model, images)
    compile_seconds = time.perf_counter() - started
    svd = svd_seconds(case["dim"], images[0].numel())
    # As many samples as time allows, in whole batches. The compiled plan was compiled for one batch and all outputs, so
    # it cannot be timed on fewer.
    left = until - time.perf_counter()
    affordable = int(left / (1.2 * (each * case["dim"] + svd))) // plan.batch * plan.batch
    if affordable or name == "compiled":
        wanted = -(-len(images) // plan.batch) * plan.batch
        count = max(plan.batch, min(wanted, affordable))
        measured = time_samples(plan, model, cycled(images, count), case["repeats"], until)
    else:
        outputs = max(plan.trial, int(left / 2 / each / plan.batch) // plan.trial * plan.trial)
        each = seconds_per_output(plan, model, images, outputs)
        measured = {"seconds": [each * case["dim"] + svd], "extrapolated": True, "outputs": outputs}
    memory = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else process_memory()
    about = {"about": plan.about, "device": device(), "memory": memory, "compile_seconds": compile_seconds}
    return {**measured, **about, "matmul_rate": max(*rates, product_rate())}


def time_samples(plan: Plan, model: nn.Module, images: Tensor, repeats: int, until: float) -> dict[str, Any]:
    """Score all images up to `repeats` times, as time allows, and return the seconds per sample."""

    def run() -> None:
        for batch in images.split(plan.batch):
            log_sum(plan.jacobian(model, batch))
        wait()

    if not (seconds := repeated(run, repeats, until)):
        raise RuntimeError("no time was left for a whole sample")
    return {"seconds": [s / len(images) for s in seconds], "extrapolated": False}


def svd_seconds(rows: int, columns: int) -> float:
    """Return the seconds that the singular values of one Jacobian of this size take."""
    J = torch.randn(1, rows, columns, device=DEVICE)
    wait()
    [seconds] = repeated(lambda: (log_sum(J), wait()), 1, float("inf"))
    return seconds


def reference(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Return scores in float64 of the first samples, and the range of their singular values.

    Both are without the singular values that are null by construction, which are the smallest ones.
    """
    model, images = load(folder, case)
    model, images = model.double(), images[: case["reference_samples"]].double()
    batch = len(images) if case["vit"] is None else 1
    choose([Plan(listing_jacobian, batch, TRIAL_OUTPUTS, "")], model, images)  # sets the number of threads
    # Singular values are computed on the host: LAPACK's accuracy does not depend on the card, and the memory suffices.
    sigma = torch.cat([torch.linalg.svdvals(listing_jacobian(model, x).cpu()) for x in images.split(batch)])
    kept = sigma[:, : sigma.shape[1] - case["null"]]
    return {
        "scores": kept.clip(EPS).log().sum(1).tolist(),
        "sigma_max": kept.max().item(),
        "sigma_min": kept.min().item(),
        "sigma_null": sigma[:, kept.shape[1] :].max().item() if case["null"] else None,
    }


def load(folder: Path, case: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """Return the model and the images, channels first, on the device."""
    params, images = load_tree(folder / "params.npz"), torch.tensor(np.load(folder / "images.npy"))
    vit = case["vit"]
    model = Toy(params) if vit is None else ViT(params, vit["patch_size"], vit["heads"])
    if vit is not None:
        images = images.permute(0, 3, 1, 2).contiguous()
    return model.requires_grad_(False).to(DEVICE), images.to(DEVICE)


def product_rate() -> float:
    """Return the FLOP/s of matrix products on this device."""
    side = 8192 if DEVICE == "cuda" else 2048
    a, b = torch.randn(2, side, side, device=DEVICE)

    def multiply() -> None:
        torch.matmul(a, b)
        wait()

    return matmul_rate(multiply, side)


def device() -> str:
    """Return the kind of the device, as `benchmarks.report.environment` names it."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def main(args: list[str]) -> int:
    """Write FOLDER/result.json.

    Returns:
      0; 1 if the contestant failed, in which case the file gives the reason in one line.
    """
    folder, name = Path(args[0]), args[1]
    case = json.loads((folder / "case.json").read_text())
    return write_result(folder, lambda: reference(folder, case) if name == "reference" else compete(name, folder, case))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
