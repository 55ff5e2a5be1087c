"""Time of the parts of JEPA-SCORE for a ViT: the Jacobian in each precision, its volume, its singular values.

    python -m benchmarks.score_parts [--sizes NAME ...] [--precisions NAME ...] [--out DIR]

Hardware: one GPU, where it takes about a minute a size; on two CPU cores half a minute for the default size there. The
parts are those of the scorer, one image at a time, each the best of four runs after a warm-up, with the time of the
compilation before. `benchmarks.score_speed` compares whole scores with the paper's listing. Results go to
OUT/DEVICE/score_parts.json and .md.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.report import environment, exit_status, markdown_table, results_folder, write_results
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.weights import random_vit
from jepa_jax.cli import parse
from jepa_jax.density import spectrum
from jepa_jax.density.batches import GPU_OPTIONS
from jepa_jax.density.jacobian import MATMUL_PRECISIONS, arithmetic
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.models.vit import ViT, vit_encoder

HEADER = ["model", "part", "precision", "ms", "compiled in"]


@dataclass(frozen=True)
class Args:
    """Arguments of the benchmark."""

    sizes: tuple[str, ...] = ()
    """Names of models, as in benchmarks.score_speed. () takes vit_s_224 on GPU, vit_s_98 elsewhere."""
    precisions: tuple[str, ...] = ()
    """Precisions of the Jacobian. () takes all that the device has."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def main(argv: list[str] | None = None) -> int:
    """Time the parts and return the exit status."""
    return exit_status(lambda: _measure(argv))


def _measure(argv: list[str] | None) -> Path:
    args = parse(Args, sys.argv[1:] if argv is None else argv, prog="benchmarks.score_parts", description=__doc__ or "")
    platform = jax.default_backend()
    sizes = args.sizes or ("vit_s_224" if platform == "gpu" else "vit_s_98",)
    precisions = args.precisions or (tuple(MATMUL_PRECISIONS) if platform != "cpu" else ("float32",))
    models = [name for name, case in CASES.items() if case.vit]
    possible = MATMUL_PRECISIONS if platform != "cpu" else ("float32",)
    for kind, given, known in (("sizes", sizes, models), ("precisions", precisions, possible)):
        for name in given:
            if name not in known:
                raise ConfigError(f"--{kind} cannot be {name!r} on this {platform}{nearest(name, list(known))}")
    folder, about, console = results_folder(str(args.out)), environment(), Console(stderr=True)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for part, precision, run, data in _parts(size, precisions, platform):
            compiled, seconds = _timed(run, data, precision, platform)
            rows.append({"size": size, "part": part, "precision": precision, "seconds": seconds, "compiled": compiled})
            console.print(f"{CASES[size].label}: {part}, {precision}: {1e3 * seconds:.1f} ms", highlight=False)
            write_results(folder, "score_parts", _markdown(rows), {"about": about, "parts": rows})
    return folder / "score_parts.md"


def _parts(
    size: str, precisions: tuple[str, ...], platform: str
) -> list[tuple[str, str, Callable[..., Any], tuple[Any, ...]]]:
    """Return the parts of a model: name, precision, function, arguments."""
    sizes, rng = CASES[size].vit or {}, np.random.default_rng(0)
    encoder = vit_encoder(ViT(**sizes), jax.tree.map(jnp.asarray, random_vit(rng, **sizes)))
    image = jnp.asarray(rng.standard_normal(encoder.shape, np.float32))
    found: list[tuple[str, str, Callable[..., Any], tuple[Any, ...]]] = [
        ("Jacobian", precision, lambda e, x: e.jacobian_factor(x, None, platform, None)[1], (encoder, image))
        for precision in precisions
    ]
    matrix = jnp.asarray(rng.standard_normal((encoder.dim, int(np.prod(encoder.shape))), np.float32))
    matrix = matrix.at[: encoder.null_directions].set(0.0)
    null = encoder.null_directions if platform != "cpu" else 0
    method = spectrum.resolve_method("auto", encoder.dim, values=True, platform=platform)
    return [
        *found,
        ("volume", "float64", lambda j: spectrum.log_volume(j, null, platform), (matrix if null else matrix + 1e-3,)),
        (f"singular values ({method})", "float64", lambda j: spectrum.values(j, method, platform), (matrix,)),
    ]


def _timed(run: Callable[..., Any], data: tuple[Any, ...], precision: str, platform: str) -> tuple[float, float]:
    """Return the seconds of the compilation and the least seconds of four runs."""
    options = GPU_OPTIONS if platform == "gpu" else None
    started = time.perf_counter()
    name: Any = precision if precision in MATMUL_PRECISIONS else "float32"
    with arithmetic(name, platform):
        program = jax.jit(run).lower(*data).compile(compiler_options=options)
    compiled = time.perf_counter() - started
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(program(*data))
        seconds.append(time.perf_counter() - started)
    return compiled, min(seconds[1:])


def _markdown(rows: list[dict[str, Any]]) -> str:
    cells = [
        [
            CASES[row["size"]].label,
            row["part"],
            row["precision"],
            f"{1e3 * row['seconds']:.1f}",
            f"{row['compiled']:.0f} s",
        ]
        for row in rows
    ]
    return f"""# Parts of JEPA-SCORE

One image at a time, the best of four runs after a warm-up. A score without singular values is a Jacobian and a volume.

{markdown_table(HEADER, cells)}"""


if __name__ == "__main__":
    sys.exit(main())
