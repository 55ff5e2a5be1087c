"""The peers of `benchmarks.score_speed`: JEPA-SCORE in PyTorch, the way its users compute it, with our weights.

    python -m benchmarks.listing FOLDER CONTESTANT

`score_speed` starts this once for each contestant, so that its peak memory is its own, and reads FOLDER/result.json.
FOLDER holds case.json, params.npz and images.npy. The contestants:

    listing       the paper's (arXiv 2510.05949, listing 1), with the batch size and number of threads that suit it best
    listing tf32  the same, with matrix products in TF32 (GPU)
    func          torch.func.jacrev with the chunk size that suits it best
    compiled      the same through torch.compile, or, where that fails, the listing on a compiled model
    reference     the listing in float64, on the first few samples, for its singular values

Whatever is too slow for the time limit is timed on some of the K outputs and extrapolated, which the result says.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.report import cores, load_tree, matmul_rate, process_memory, repeated

EPS = 1e-6
TRIAL = 4  # outputs on which a setting of the listing is tried
Model = Callable[[Tensor], Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def listing(model: Model, images: Tensor, eps: float = EPS) -> Tensor:
    """The paper's: Jacobian of the batch-summed model, singular values, clip, log, sum. [B, ...] -> [B]."""
    return log_sum(listing_jacobian(model, images), eps)


def listing_jacobian(model: Model, images: Tensor) -> Tensor:
    """[B, ...] -> [B, K, D]."""
    J = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), inputs=images)
    assert isinstance(J, Tensor)
    return J.flatten(2).permute(1, 0, 2)


def log_sum(J: Tensor, eps: float = EPS) -> Tensor:
    """[B, K, D] -> [B]."""
    with torch.inference_mode():
        return torch.linalg.svdvals(J).clip_(eps).log_().sum(1)


def func_jacobian(
    model: Model, images: Tensor, chunk: int, together: bool, plain: bool = True, compiled: bool = False
) -> Tensor:
    """[B, ...] -> [B, K, D] by reverse mode in chunks of outputs, sample by sample or all together.

    `plain` attention is matrix products and a softmax; the fused one has no batching rule on CPU, where a chunk then
    runs output by output.
    """
    jacobian = torch.func.jacrev(lambda x: model(x[None])[0], chunk_size=chunk)
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        if together:
            many = torch.func.vmap(jacobian)
            return (torch.compile(many) if compiled else many)(images).flatten(2)
        one = torch.compile(jacobian) if compiled else jacobian
        return torch.stack([one(x).flatten(1) for x in images])


class ViT(nn.Module):
    """A vision transformer that returns its normed class token, [B, 3, H, W] -> [B, K], with our params."""

    def __init__(self, params: dict[str, Any], patch_size: int, heads: int) -> None:
        super().__init__()
        kernel, blocks = params["patch"]["kernel"], params["blocks"]
        depth, width = blocks["norm1"]["scale"].shape
        self.patch = nn.Conv2d(3, width, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.tensor(params["class_token"]))
        self.positions = nn.Parameter(torch.tensor(params["positions"]))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        # Our rows are ordered (row, column, channel), a convolution's weight is [width, channel, row, column].
        rows = kernel.T.reshape(width, patch_size, patch_size, 3)
        fill(self.patch, rows.transpose(0, 3, 1, 2), params["patch"]["bias"])
        fill(self.norm, params["norm"]["scale"], params["norm"]["bias"])
        for i, block in enumerate(self.blocks):
            for name, layer in block.named_children():
                stacked = blocks[name]
                weight = stacked["scale"][i] if "scale" in stacked else stacked["kernel"][i].T
                fill(layer, weight, stacked["bias"][i])

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, K]."""
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1) + self.positions
        return self.norm(self.blocks(x)[:, 0])


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside an identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, K] -> [B, N, K]."""
        b, n, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Toy(nn.Module):
    """Our MLP onto the sphere, [B, D] -> [B, K]. jax.nn.gelu is the tanh approximation."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(params["input"]["mean"]))
        self.scale = nn.Parameter(torch.tensor(params["input"]["scale"]))
        layers = params["network"]["network"]
        modules: list[nn.Module] = []
        for i in range(len(layers)):
            kernel, bias = layers[f"dense_{i}"]["kernel"], layers[f"dense_{i}"]["bias"]
            modules += [fill(nn.Linear(*kernel.shape), kernel.T, bias), nn.GELU(approximate="tanh")]
        self.network = nn.Sequential(*modules[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, K]."""
        return F.normalize(self.network((x - self.mean) / self.scale), dim=1)


def fill(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    """Copy these numbers into a layer's weight and bias."""
    with torch.no_grad():
        for name, value in (("weight", weight), ("bias", bias)):
            parameter = layer.get_parameter(name)
            if parameter.shape != value.shape:
                raise ValueError(f"{name} of {layer} cannot hold {value.shape}")
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))
    return layer


def load(folder: Path, case: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """The model and the images, channels first, on the device."""
    params, images = load_tree(folder / "params.npz"), torch.tensor(np.load(folder / "images.npy"))
    vit = case["vit"]
    model = Toy(params) if vit is None else ViT(params, vit["patch_size"], vit["heads"])
    if vit is not None:
        images = images.permute(0, 3, 1, 2).contiguous()
    return model.requires_grad_(False).to(DEVICE), images.to(DEVICE)


@dataclass(frozen=True)
class Plan:
    """A way to compute Jacobians, with its settings."""

    jacobian: Callable[[Model, Tensor], Tensor]
    batch: int  # samples at once
    trial: int  # outputs on which it is tried
    about: str


def plans(name: str, case: dict[str, Any]) -> list[Plan]:
    """What a contestant may choose from."""
    toy = case["vit"] is None
    if name.startswith("listing"):
        return [Plan(listing_jacobian, b, case["dim"] if toy else TRIAL, f"batch {b}") for b in case["batches"]]
    if toy:
        jacobian = partial(func_jacobian, chunk=case["dim"], together=True)
        return [Plan(jacobian, b, case["dim"], f"batch {b}") for b in case["batches"]]
    chunks = [chunk for chunk in case["chunks"][DEVICE] if chunk <= case["dim"]] or [case["dim"]]
    found = [Plan(partial(func_jacobian, chunk=c, together=False), 1, c, f"chunk {c}") for c in chunks]
    fused = partial(func_jacobian, chunk=chunks[0], together=False, plain=False)
    return [*found, Plan(fused, 1, chunks[0], f"chunk {chunks[0]}, fused attention")]


def first(model: Model, outputs: int) -> Model:
    """The model's first outputs."""
    return lambda x: model(x)[:, :outputs]


def filled(images: Tensor, count: int) -> Tensor:
    """So many images, repeating them where there are fewer."""
    return images[torch.arange(count, device=images.device) % len(images)]


def wait() -> None:
    """For what the device has been told to do."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds_per_output(plan: Plan, model: Model, images: Tensor, outputs: int | None = None) -> float:
    """Of one sample, without the singular values; infinite where memory does not suffice."""
    outputs = outputs or plan.trial
    images = filled(images, plan.batch)
    started = time.perf_counter()
    try:
        plan.jacobian(first(model, outputs), images)
        wait()
    except torch.OutOfMemoryError:
        return float("inf")
    return (time.perf_counter() - started) / outputs / plan.batch


def choose(candidates: list[Plan], model: Model, images: Tensor) -> tuple[Plan, float]:
    """The fastest plan, and its seconds per output and sample; sets the number of threads that suits the first.

    Small matrices gain nothing from a second thread, and on a busy machine its barriers cost a hundredfold.
    """
    threads = torch.get_num_threads()
    if DEVICE == "cpu" and cores() > 1:
        seconds = {}
        for threads in (1, cores()):
            torch.set_num_threads(threads)
            seconds[threads] = min(seconds_per_output(candidates[0], model, images) for _ in range(2))
        threads = min(seconds, key=lambda threads: seconds[threads])
        torch.set_num_threads(threads)
    else:
        seconds_per_output(candidates[0], model, images)  # the device's own warm-up
    each = [seconds_per_output(plan, model, images) for plan in candidates]
    best = int(np.argmin(each))
    return replace(candidates[best], about=f"{candidates[best].about}, {threads} threads"), each[best]


def compiled(plan: Plan, model: nn.Module, images: Tensor) -> Plan:
    """The plan through torch.compile, in whichever form works.

    Raises:
      RuntimeError: none does.
    """
    import torch._functorch.config

    torch._functorch.config.donated_buffer = False  # the listing keeps its graph for all K backward passes
    static: Any = torch.compile(model)
    attempts = [
        plan,
        replace(plan, jacobian=lambda _, x: listing_jacobian(static, x), about=f"model only, {plan.about}"),
    ]
    if isinstance(plan.jacobian, partial):
        attempts[0] = replace(plan, jacobian=partial(plan.jacobian, compiled=True))
    reasons = []
    for attempt in attempts:
        try:
            attempt.jacobian(model, filled(images, plan.batch))
            wait()
            return attempt
        except Exception as error:  # of the compiler, which may raise anything
            reasons.append(one_line(error))
    raise RuntimeError("does not compile: " + "; ".join(reasons))


def one_line(error: BaseException) -> str:
    """Kind and first words of an error."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:160]


def compete(name: str, folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Time one contestant: its result as JSON."""
    until = time.perf_counter() + case["seconds"]
    torch.set_float32_matmul_precision("high" if name.endswith("tf32") else "highest")
    model, images = load(folder, case)
    images = images[: case["peer_samples"]]
    plan, each = choose(plans(name, case), model, images)
    rates = [rate()]
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    if name == "compiled":
        plan = compiled(plan, model, images)
    compile_seconds = time.perf_counter() - started
    svd = svd_seconds(case["dim"], images[0].numel())
    # As many samples as time allows, in whole batches; the compiler's trial has taken one, and may not truncate.
    left = until - time.perf_counter()
    affordable = int(left / (1.2 * (each * case["dim"] + svd))) // plan.batch * plan.batch
    if affordable or name == "compiled":
        wanted = -(-len(images) // plan.batch) * plan.batch
        count = max(plan.batch, min(wanted, affordable))
        measured = whole(plan, model, filled(images, count), case["repeats"], until)
    else:
        outputs = max(plan.trial, int(left / 2 / each / plan.batch) // plan.trial * plan.trial)
        each = seconds_per_output(plan, model, images, outputs)
        measured = {"seconds": [each * case["dim"] + svd], "extrapolated": True, "outputs": outputs}
    memory = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else process_memory()
    about = {"about": plan.about, "device": device(), "memory": memory, "compile_seconds": compile_seconds}
    return {**measured, **about, "matmul_rate": max(*rates, rate())}


def whole(plan: Plan, model: nn.Module, images: Tensor, repeats: int, until: float) -> dict[str, Any]:
    """Score all images, as often as time allows."""
    scores: list[Tensor] = []

    def run() -> None:
        scores[:] = [log_sum(plan.jacobian(model, batch)) for batch in images.split(plan.batch)]
        wait()

    if not (seconds := repeated(run, repeats, until)):
        raise RuntimeError("no time was left for a whole sample")
    return {"seconds": [s / len(images) for s in seconds], "extrapolated": False, "scores": torch.cat(scores).tolist()}


def svd_seconds(rows: int, columns: int) -> float:
    """What the singular values of one Jacobian of this size cost."""
    J = torch.randn(1, rows, columns, device=DEVICE)
    wait()
    [seconds] = repeated(lambda: (log_sum(J), wait()), 1, float("inf"))
    return seconds


def reference(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Singular values in float64 of the first samples, [B, R], those null by construction left out, the least."""
    model, images = load(folder, case)
    model, images = model.double(), images[: case["reference_samples"]].double()
    batch = len(images) if case["vit"] is None else 1
    choose([Plan(listing_jacobian, batch, TRIAL, "")], model, images)  # for its number of threads
    # On the host: LAPACK's accuracy does not depend on the card, and it has the memory.
    sigma = torch.cat([torch.linalg.svdvals(listing_jacobian(model, x).cpu()) for x in images.split(batch)])
    kept = sigma[:, : sigma.shape[1] - case["null"]]
    return {
        "scores": kept.clip(EPS).log().sum(1).tolist(),
        "sigma_max": kept.max().item(),
        "sigma_min": kept.min().item(),
        "sigma_null": sigma[:, kept.shape[1] :].max().item() if case["null"] else None,
    }


def rate() -> float:
    """FLOP/s of this device's matrix products."""
    side = 8192 if DEVICE == "cuda" else 2048
    a, b = torch.randn(2, side, side, device=DEVICE)

    def multiply() -> None:
        torch.matmul(a, b)
        wait()

    return matmul_rate(multiply, side)


def device() -> str:
    """The kind of the device, as `benchmarks.report.environment` calls it."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def main(args: list[str]) -> int:
    """Write FOLDER/result.json; 0, or 1 if the contestant failed, which the file says in a line."""
    folder, name = Path(args[0]), args[1]
    case = json.loads((folder / "case.json").read_text())
    try:
        result = reference(folder, case) if name == "reference" else compete(name, folder, case)
    except Exception as error:  # whatever it is, the other contestants go on
        result = {"failed": str(error) if str(error).startswith("does not") else one_line(error)}
    (folder / "result.json").write_text(json.dumps(result))
    return 1 if "failed" in result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
