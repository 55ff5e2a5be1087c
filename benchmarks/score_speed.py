"""JEPA-SCORE of a sample, ours against the paper's PyTorch listing, with the same random weights and images.

    python -m benchmarks.score_speed [--quick] [--sizes NAME ...] [--peers NAME ...] [--samples N] [--repeats N]
                                     [--limit-seconds S] [--scaling] [--out DIR]

Hardware: two CPU cores, or one GPU with CUDA builds of jax and torch. Needs torch: `pip install jepa-jax[torch]`, or
`make bench`. On two cores `--quick` takes two to three minutes; the default (toy, ViT-S/14 at 98 and 224 px, ViT-B/14
at 224 px) at most 20 times `--limit-seconds`, as there are five contestants each. It asks nothing: what fails or
outlasts the limit is reported in a line and skipped, and the files are written after every contestant. Two cores need
more than the default limit for a float64 reference of ViT-B.

Wanted on two cores: ViT-S/14 at 98 px three times as fast as the listing, at 75 % or more of the cores' own matrix
product rate; 100,000 samples of the toy in 10 s with compilation, 20 times as fast as the listing; ViT-B/14 at 224 px
within 6 GB. On a GPU: ViT-S/14 at 224 px 30 times as fast as the listing in float32, 100 times in the fastest precision
within 1 nat of it. LOG.md says what was reached.

Each contestant runs in a process of its own, one after the other. The rate is nominal: K times the matrix products of
one gradient through the whole model, whatever a method really computes, so that less arithmetic shows as a higher rate;
its fraction is of the best rate of plain matrix products in the same process, before and after. Agreement is with the
listing in float64, singular values that are null by construction left out on both sides. `--scaling` shows instead how
our time grows with samples, outputs and arithmetic.
"""

import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.report import (
    environment,
    load_tree,
    markdown_table,
    matmul_rate,
    process_memory,
    repeated,
    save_tree,
    write_results,
)

ROOT = Path(__file__).parent.parent
PRECISIONS = ("tf32x3", "bf16x3", "tf32", "bf16")  # on a GPU, beside float32
NATS = 1.0  # how far a precision may be from float32 to count as the fastest
EPS = 1e-6
TOY = {"widths": (2, 128, 128, 128, 16), "dim": 16}
SCALING_SAMPLES = {"cpu": (1, 2, 4), "gpu": (8, 16, 32)}
SCALING_DEPTHS = (4, 8, 12)


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    quick: bool = False
    """The toy with 20,000 samples and ViT-S/14 at 98 px with 2, the listing alone, one repetition."""
    sizes: tuple[str, ...] = ()
    """Of toy, vit_s_98, vit_s_224, vit_b_224, vit_l_224, vit_h_224, tiny; () takes the first four, or --quick's."""
    peers: tuple[str, ...] = ()
    """Of listing, func, compiled; () takes all, or --quick's."""
    samples: int | None = None
    """Samples that we score of each case. None: 100,000 of the toy, 1 to 4 of a ViT on CPU and 8 or 16 on GPU."""
    repeats: int | None = None
    """Repetitions after the warm-up. None: 3, or 1 with --quick."""
    limit_seconds: float = 600.0
    """What each contestant may take in all."""
    scaling: bool = False
    """Only our own growth of time with samples, outputs and depth of a ViT-S/14 at 98 px."""
    out: str = "benchmarks/results"
    """Folder for score_speed.json and score_speed.md (score_speed_quick, score_speed_scaling)."""


@dataclass(frozen=True)
class Case:
    """A model; `batches` and `chunks` are what the peers may choose from."""

    label: str
    vit: dict[str, Any] | None = None
    samples: tuple[int, int] = (4, 16)  # that we score on CPU and on GPU
    reference_samples: int = 2
    batches: tuple[int, ...] = (1, 4)

    @property
    def dim(self) -> int:
        """K."""
        return TOY["dim"] if self.vit is None else self.vit["width"]

    def flops(self) -> int:
        """Nominal ones of a sample."""
        if self.vit is None:
            widths = TOY["widths"]
            return 2 * self.dim * sum(a * b for a, b in itertools.pairwise(widths))
        from jepa_jax.models.vit import ViT

        return self.dim * ViT(**self.vit).flops


def vit(image_size: int, width: int, depth: int, heads: int) -> dict[str, Any]:
    """Sizes of a ViT with patches of 14 pixels, as `jepa_jax.models.vit.ViT` takes them."""
    return {"image_size": image_size, "patch_size": 14, "width": width, "depth": depth, "heads": heads}


CASES = {
    "toy": Case("toy, D = 2, K = 16", None, (100_000, 100_000), 1000, (1024, 4096)),
    "vit_s_98": Case("ViT-S/14, 98 px", vit(98, 384, 12, 6)),
    "vit_s_224": Case("ViT-S/14, 224 px", vit(224, 384, 12, 6), (2, 16), 1),
    "vit_b_224": Case("ViT-B/14, 224 px", vit(224, 768, 12, 12), (1, 16), 1),
    "vit_l_224": Case("ViT-L/14, 224 px", vit(224, 1024, 24, 16), (1, 16), 1),
    "vit_h_224": Case("ViT-H/14, 224 px", vit(224, 1280, 32, 16), (1, 8), 1),
    "tiny": Case("a ViT for the tests", vit(28, 32, 2, 2), (2, 2), 2, (1, 2)),
}
DEFAULT_SIZES = ("toy", "vit_s_98", "vit_s_224", "vit_b_224")
PEERS = ("listing", "func", "compiled")


def main(args: list[str]) -> int:
    """Run what the arguments name; 0, or 1 if one of ours failed, 2 if the benchmark cannot run."""
    if args[:1] == ["ours"]:
        return ours(Path(args[1]), args[2])
    from jepa_jax.errors import ConfigError

    try:
        arguments = read_arguments(args)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # This process looks up the device, and must not take its memory from the contestants.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax

    console = Console(width=None if sys.stdout.isatty() else 100)
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    if load is not None and load > 0.5 and jax.default_backend() == "cpu":
        console.print(f"the machine is busy (load {load}): ratios of a busy machine are not to be quoted")
    about = {**environment(), "torch": importlib.metadata.version("torch"), "load": load}
    if arguments.scaling:
        return scaling(arguments, about, console)
    rows: list[dict[str, Any]] = []
    for name in arguments.sizes:
        row: dict[str, Any] = {"case": name, "label": CASES[name].label, "contestants": {}}
        rows.append(row)
        for _ in measure(name, row, arguments, jax.default_backend(), console):
            write(rows, arguments, about)
        report(row, console)
    return 1 if any("failed" in row["contestants"].get("ours", {}) for row in rows) else 0


def read_arguments(args: list[str]) -> Arguments:
    """The arguments with what depends on `--quick` filled in.

    Raises:
      ConfigError: an unknown name, a number that is too small, a folder that cannot be written, or no torch.
    """
    from jepa_jax.cli import parse
    from jepa_jax.errors import ConfigError, nearest
    from jepa_jax.files import make_directory

    given = parse(Arguments, args, prog="python -m benchmarks.score_speed", description=__doc__ or "")
    for kind, names, known in (("sizes", given.sizes, CASES), ("peers", given.peers, PEERS)):
        for name in names:
            if name not in known:
                raise ConfigError(f"--{kind} cannot be {name!r}{nearest(name, list(known))}")
    numbers = (given.samples, given.repeats, given.limit_seconds)
    if any(number is not None and number < 1 for number in numbers):
        raise ConfigError("--samples, --repeats and --limit-seconds must be at least 1")
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("torch is missing: pip install 'jepa-jax[torch]', or make bench")
    make_directory(Path(given.out))
    return dataclasses.replace(
        given,
        sizes=given.sizes or (("toy", "vit_s_98") if given.quick else DEFAULT_SIZES),
        peers=given.peers or (("listing",) if given.quick else PEERS),
        repeats=given.repeats or (1 if given.quick else 3),
    )


def samples_of(name: str, arguments: Arguments, platform: str) -> int:
    """How many of a case we score."""
    if arguments.samples is not None:
        return arguments.samples
    most = CASES[name].samples[platform == "gpu"]
    return min(most, 20_000 if name == "toy" else 2) if arguments.quick else most


def measure(name: str, row: dict[str, Any], arguments: Arguments, platform: str, console: Console) -> Iterator[None]:
    """Run all contestants of a case, filling its row; stops after each."""
    case, samples = CASES[name], samples_of(name, arguments, platform)
    row.update(samples=samples, platform=platform, nominal_flops=case.flops())
    tf32 = [f"{peer} tf32" for peer in arguments.peers if peer == "listing" and platform == "gpu"]
    precisions = ["float32", *(PRECISIONS if platform == "gpu" and case.vit else ())]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, case, samples, arguments)

        def run(name: str, module: str, *rest: str) -> dict[str, Any]:
            result = contestant([f"benchmarks.{module}", *rest], folder, arguments, console, f"{case.label}: {name}")
            if "seconds" in result:
                console.print(f"{case.label}: {name}: {np.median(result['seconds']):.3g} s per sample", highlight=False)
            return result

        row["reference"] = run("reference", "listing", temporary, "reference")
        for precision in precisions:
            key = "ours" if precision == "float32" else f"ours {precision}"
            row["contestants"][key] = run(key, "score_speed", "ours", temporary, precision)
            yield summarise(row, case)
        for peer in (*arguments.peers, *tf32):
            row["contestants"][peer] = run(peer, "listing", temporary, peer)
            yield summarise(row, case)


def prepare(folder: Path, case: Case, samples: int, arguments: Arguments) -> None:
    """Weights, samples and settings in files that every contestant reads."""
    rng = np.random.default_rng(0)
    save_tree(folder / "params.npz", random_mlp(rng) if case.vit is None else random_vit(rng, **case.vit))
    shape = (2,) if case.vit is None else (case.vit["image_size"], case.vit["image_size"], 3)
    np.save(folder / "images.npy", rng.standard_normal((samples, *shape), np.float32))
    settings = {
        **dataclasses.asdict(case),
        "dim": case.dim,
        "null": null_values(case),
        "chunks": {"cpu": (8, 32), "cuda": (64, case.dim)},
        "peer_samples": 2 * max(case.batches) if case.vit is None else samples,
        "reference_samples": 1 if arguments.quick and case.vit else case.reference_samples,
        "repeats": arguments.repeats,
        # Planned for less than is allowed: a process also starts, loads, and misjudges.
        "seconds": 0.8 * arguments.limit_seconds,
    }
    (folder / "case.json").write_text(json.dumps(settings))


def null_values(case: Case) -> int:
    """Singular values that are null by construction: two after a layer norm; on the sphere none where R < K."""
    return 2 if case.vit else 0


def random_mlp(rng: np.random.Generator) -> dict[str, Any]:
    """Weights of the encoder of the config mixture_2d."""
    widths = TOY["widths"]
    layers = {}
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers[f"dense_{i}"] = {"kernel": normal(rng, (a, b), (2 / a) ** 0.5), "bias": normal(rng, (b,), 0.1)}
    fixed = {"mean": np.zeros(2, np.float32), "scale": np.ones(2, np.float32)}
    return {"network": {"network": layers}, "input": fixed}


def random_vit(
    rng: np.random.Generator, image_size: int, patch_size: int, width: int, depth: int, heads: int
) -> dict[str, Any]:
    """Weights of a ViT; its last norm's scale spans three decades, so that the Jacobian's spectrum spans more."""
    del heads
    patch = 3 * patch_size**2

    def layer(rows: int, columns: int) -> dict[str, np.ndarray]:
        kernel = normal(rng, (depth, rows, columns), rows**-0.5)
        return {"kernel": kernel, "bias": normal(rng, (depth, columns), 0.1)}

    def norm() -> dict[str, np.ndarray]:
        return {"scale": 1 + normal(rng, (depth, width), 0.1), "bias": normal(rng, (depth, width), 0.1)}

    return {
        "patch": {"kernel": normal(rng, (patch, width), patch**-0.5), "bias": normal(rng, (width,), 0.1)},
        "class_token": normal(rng, (1, width), 1.0),
        "positions": normal(rng, (1 + (image_size // patch_size) ** 2, width), 0.5),
        "blocks": {
            "norm1": norm(),
            "qkv": layer(width, 3 * width),
            "proj": layer(width, width),
            "norm2": norm(),
            "fc1": layer(width, 4 * width),
            "fc2": layer(4 * width, width),
        },
        "norm": {"scale": np.geomspace(30.0, 0.03, width, dtype=np.float32), "bias": normal(rng, (width,), 0.1)},
    }


def normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Normal numbers in float32."""
    return np.float32(scale) * rng.standard_normal(shape, np.float32)


def contestant(command: list[str], folder: Path, arguments: Arguments, console: Console, name: str) -> dict[str, Any]:
    """Run a module in a process of its own; its result, or why there is none, in a line."""
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    environ = {key: value for key, value in os.environ.items() if key != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    started = time.perf_counter()
    with console.status(name), log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that a compiler's own processes end with it
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
    """End a process and those that it has started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    process.wait()


def ours(folder: Path, precision: str) -> int:
    """Our contestant: write FOLDER/result.json."""
    case = json.loads((folder / "case.json").read_text())
    try:
        result = ours_grown(case) if precision == "scaling" else ours_timed(folder, case, precision)
    except Exception as error:  # whatever it is, the other contestants go on
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        result = {"failed": f"{type(error).__name__}: {text}"[:160]}
    (folder / "result.json").write_text(json.dumps(result))
    return 1 if "failed" in result else 0


def ours_timed(folder: Path, case: dict[str, Any], precision: Any) -> dict[str, Any]:
    """Score all samples once with compilation, then as often as time allows."""
    import jax
    import jax.numpy as jnp

    from jepa_jax.density import score_samples

    until = time.perf_counter() + case["seconds"]
    encoder, xs = our_encoder(case, load_tree(folder / "params.npz")), jnp.asarray(np.load(folder / "images.npy"))
    before = our_rate(precision)
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
        "scores": (scores[0] - case["null"] * np.log(EPS)).tolist()[:1000],
        "memory": stats["peak_bytes_in_use"] if stats else process_memory(),
        "about": precision,
        "device": jax.devices()[0].device_kind,
        "matmul_rate": max(before, our_rate(precision)),
    }


def our_encoder(case: dict[str, Any], params: dict[str, Any]) -> Any:
    """Our encoder with the weights that all contestants have."""
    import jax

    params = jax.tree.map(jax.numpy.asarray, params)
    if case["vit"] is not None:
        from jepa_jax.models.vit import ViT, vit_encoder

        return vit_encoder(ViT(**case["vit"]), params)
    from jepa_jax import config as cfg
    from jepa_jax.encoder import Encoder
    from jepa_jax.models import build

    widths = TOY["widths"]
    model = build(cfg.MLP(widths=widths[1:-1], dim=widths[-1]), widths[:1], "sphere")
    return Encoder(params, model.apply, widths[:1], model.dim, None, model.null_directions)


def our_rate(precision: Any) -> float:
    """FLOP/s of the default device's matrix products in this precision."""
    import jax

    from jepa_jax.density.jacobian import arithmetic

    side = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = jax.random.normal(jax.random.key(0), (2, side, side))
    with arithmetic(precision, jax.default_backend()):
        multiply = jax.jit(lambda a, b: a @ b).lower(a, b).compile()
    return matmul_rate(lambda: multiply(a, b).block_until_ready(), side)


def ours_grown(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds for more samples, more outputs and more blocks, each after a warm-up of its own."""
    import jax

    from jepa_jax.density import score_samples

    rng = np.random.default_rng(0)
    until = time.perf_counter() + case["seconds"]
    counts = SCALING_SAMPLES["cpu" if jax.default_backend() == "cpu" else "gpu"]
    sizes = case["vit"]
    xs = jax.numpy.asarray(normal(rng, (counts[-1], sizes["image_size"], sizes["image_size"], 3), 1.0))
    encoder = our_encoder(case, random_vit(rng, **sizes))
    points: dict[str, list[tuple[float, float]]] = {"samples": [], "outputs": [], "nominal FLOPs": []}

    def add(axis: str, size: float, f: Any, xs: Any) -> None:
        def run() -> None:
            score_samples(f, xs).block_until_ready()

        if repeated(run, 1, until) and (seconds := repeated(run, case["repeats"], until)):
            points[axis].append((size, float(np.median(seconds))))

    for count in counts:
        add("samples", count, encoder, xs[:count])
    for depth in SCALING_DEPTHS:
        deep = {"vit": {**sizes, "depth": depth}}
        f = our_encoder(deep, random_vit(rng, **deep["vit"]))
        add("nominal FLOPs", Case("", deep["vit"]).flops(), f, xs[: counts[0]])
    for outputs in (case["dim"] // 4, case["dim"] // 2, case["dim"]):
        add("outputs", outputs, sliced(encoder, outputs), xs[: counts[0]])
    return {"points": points}


def sliced(encoder: Any, outputs: int) -> Any:
    """The encoder's first outputs, as an encoder of the general kind."""
    from jepa_jax.encoder import Encoder

    apply: Callable[..., Any] = encoder.apply
    return Encoder(encoder.params, lambda params, x: apply(params, x)[:outputs], encoder.shape, outputs)


def scaling(arguments: Arguments, about: dict[str, Any], console: Console) -> int:
    """How our time grows, with the exponent that fits."""
    case = CASES["vit_s_98"]
    with tempfile.TemporaryDirectory() as temporary:
        prepare(Path(temporary), case, 1, arguments)
        command = ["benchmarks.score_speed", "ours", temporary, "scaling"]
        result = contestant(command, Path(temporary), arguments, console, "scaling")
    if "failed" in result:
        console.print(f"scaling: {result['failed']}")
        return 1
    cells, fits = [], {}
    for axis, points in result["points"].items():
        if len(points) > 1:
            sizes, seconds = np.array(points).T
            fits[axis] = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        cells += [[axis, f"{size:.4g}", f"{seconds:.3g}", ""] for size, seconds in points]
        cells.append([axis, "", "", f"{fits[axis]:.2f}" if axis in fits else "not within the limit"])
    header = ["axis", "size", "seconds", "exponent"]
    print_table(console, f"{case.label}: our time against size", header, cells)
    text = "# JEPA-SCORE: our time against size\n\nViT-S/14 at 98 px, median after a warm-up; 1 is linear.\n\n"
    tree = {"about": {**about, "repeats": arguments.repeats}, "points": result["points"], "exponents": fits}
    write_results(Path(arguments.out), "score_speed_scaling", text + markdown_table(header, cells), tree)
    return 0


def summarise(row: dict[str, Any], case: Case) -> None:
    """Add medians, ratios, agreement, rates and bars to a case's row."""
    found, exact = row["contestants"], row["reference"].get("scores")
    mine = found["ours"]
    for name, result in found.items():
        if "failed" in result:
            continue
        median = result["seconds_per_sample"] = float(np.median(result["seconds"]))
        result["nominal_rate"] = row["nominal_flops"] / median
        result["fraction"] = result["nominal_rate"] / result["matmul_rate"]
        if name.startswith("ours"):
            result["nats_from_float64"] = apart(result["scores"], exact)
            result["nats_from_float32"] = apart(result["scores"], mine.get("scores"))
        if "seconds" in mine:
            result["ratio"] = median / float(np.median(mine["seconds"]))
    good = [n for n in found if n.startswith("ours") and found[n].get("nats_from_float32") is not None]
    good = [n for n in good if found[n]["nats_from_float32"] <= NATS]
    row["fastest"] = min(good, key=lambda n: found[n]["seconds_per_sample"], default="none")
    row["bars"] = bars(row, case)


def apart(scores: list[float], others: list[float] | None) -> float | None:
    """The largest distance, NaN included, over the samples that both have."""
    if not others:
        return None
    count = min(len(scores), len(others))
    return float(np.max(np.abs(np.subtract(scores[:count], others[:count]))))


def bars(row: dict[str, Any], case: Case) -> list[dict[str, Any]]:
    """What is claimed for a case: text, value, bar, and whether it is reached; None where it was not measured."""
    mine, listing = row["contestants"]["ours"], row["contestants"].get("listing", {})
    fastest = row["contestants"].get(row["fastest"], {})

    def over(result: dict[str, Any]) -> float | None:
        pair = (listing.get("seconds_per_sample"), result.get("seconds_per_sample"))
        return None if None in pair else pair[0] / pair[1]

    claims: dict[tuple[str, str], list[tuple[str, float | None, float]]] = {
        ("cpu", "toy"): [
            ("times the listing", over(mine), 20.0),
            ("s for 100,000 samples with compilation, at most", mine.get("first_seconds"), -10.0),
        ],
        ("cpu", "vit_s_98"): [
            ("times the listing", over(mine), 3.0),
            ("of the matrix product rate", mine.get("fraction"), 0.75),
        ],
        ("cpu", "vit_b_224"): [("GB of process memory, at most", gigabytes(mine), -6.0)],
        ("gpu", "vit_s_224"): [
            ("times the listing in float32", over(mine), 30.0),
            (f"times the listing, {row['fastest']}", over(fastest), 100.0),
        ],
    }
    found = claims.get((row["platform"], row["case"]), [])
    if row["case"] == "toy" and row["samples"] < CASES["toy"].samples[0]:
        found = []  # the claim is about that many
    # A negative bar is a most, not a least.
    return [
        {
            "text": f"{case.label}: {text}",
            "value": value,
            "bar": abs(bar),
            "reached": None if value is None else bool(value <= -bar if bar < 0 else value >= bar),
        }
        for text, value, bar in found
    ]


def gigabytes(result: dict[str, Any]) -> float | None:
    """Peak memory in GB."""
    return result["memory"] / 1e9 if "memory" in result else None


HEADER = ["contestant", "s/sample", "times ours", "nats, f64", "nats, f32", "TFLOP/s", "of matmul", "GB"]


def table_rows(row: dict[str, Any]) -> list[list[str]]:
    """A case as lines of the table: the contestants that came to an end."""
    return [
        [
            name,
            f"{'about ' if result['extrapolated'] else ''}{result['seconds_per_sample']:.3g}",
            shown(result.get("ratio"), ".2f"),
            shown(result.get("nats_from_float64"), ".1e"),
            shown(result.get("nats_from_float32"), ".1e"),
            f"{result['nominal_rate'] / 1e12:.3g}",
            f"{100 * result['fraction']:.0f} %",
            shown(gigabytes(result), ".2f"),
        ]
        for name, result in row["contestants"].items()
        if "failed" not in result
    ]


def settings(name: str, result: dict[str, Any]) -> str:
    """How a contestant ran, or why it did not."""
    if "failed" in result:
        return f"{name}: {result['failed']}"
    how = [str(result["about"]), str(result["device"])]
    if result["extrapolated"]:
        how.append(f"extrapolated from {result['outputs']} outputs")
    if result.get("with_compilation"):
        how.append("compilation included")
    return f"{name}: {', '.join(how)}"


def shown(value: float | None, form: str) -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def remarks(row: dict[str, Any]) -> list[str]:
    """Lines below the table: settings, spectrum, total time, fastest precision, bars."""
    mine, exact = row["contestants"].get("ours", {}), row.get("reference", {})
    lines = [settings(name, result) for name, result in row["contestants"].items()]
    if "sigma_max" in exact:
        null = exact["sigma_null"]
        left = "" if null is None else f"; left out as null by construction: {null:.1e} and less"
        lines.append(f"singular values {exact['sigma_max']:.3g} to {exact['sigma_min']:.3g}{left}")
    elif "failed" in exact:
        lines.append(f"no float64 reference: {exact['failed']}")
    if "first_seconds" in mine:
        lines.append(f"ours: {row['samples']} samples in {mine['first_seconds']:.2f} s with compilation")
    if row["platform"] == "gpu" and "fastest" in row:
        lines.append(f"fastest within {NATS:g} nat of float32: {row['fastest']}")
    for bar in row.get("bars", ()):
        verdict = {None: "not measured", True: "reached", False: "MISSED"}[bar["reached"]]
        lines.append(f"{bar['text']}: {shown(bar['value'], '.3g')}, wanted {bar['bar']:g}: {verdict}")
    return lines


def report(row: dict[str, Any], console: Console) -> None:
    """Print a case's table and what is to be said about it."""
    print_table(console, row["label"], HEADER, table_rows(row))
    for line in remarks(row):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, title: str, header: list[str], lines: list[list[str]]) -> None:
    """A table on the console."""
    table = Table(*header, title=title)
    for line in lines:
        table.add_row(*line)
    console.print(table)


def write(rows: list[dict[str, Any]], arguments: Arguments, about: dict[str, Any]) -> None:
    """Both files, with what there is so far."""
    text = f"""# JEPA-SCORE of a sample, ours against the paper's PyTorch listing

Median of up to {arguments.repeats} repetitions after a warm-up, each contestant in a process of its own, all in one
run. The rate is nominal: K times the matrix products of one gradient through the whole model, whatever a method really
computes; its fraction is of the rate of plain matrix products in the same process and precision. The nats are the
largest distance of our scores from the listing's in float64, and from ours in float32. GB are the process's at most, or
the card's (its floor is the 0.8 GB of the matrix products).
"""
    for row in rows:
        remarked = "\n".join(f"- {line}" for line in remarks(row))
        text += f"\n## {row['label']}\n\n{markdown_table(HEADER, table_rows(row))}\n\n{remarked}\n"
    name = "score_speed_quick" if arguments.quick else "score_speed"
    tree = {"about": {**about, "repeats": arguments.repeats}, "cases": rows}
    write_results(Path(arguments.out), name, text.rstrip(), tree)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
