"""Time of loading foreign weights, relative to reading the file's bytes and copying them once.

    python -m benchmarks.load_speed [--arch vits14|vitb14|vitl14] [--repeats N] [--out DIR]

Hardware: any CPU, with space for the file (1.2 GB for vitl14) on disk and for three times its size in memory. It takes
about half a minute. Goal: at most twice the time of reading the bytes plus one copy.

A safetensors file of DINOv2's sizes is written with random weights under Hugging Face's names. Loading transposes each
linear map, [out, in] -> [in, out], and stacks the blocks. The file is in the system's cache in both cases, so the time
excludes the disk. Reading, copying and loading take turns, and the best time of each counts. The peak memory is that of
a process that does nothing else.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.status import Status
from safetensors.numpy import save_file

from benchmarks.report import environment, flat, markdown_table, process_memory, results_folder, write_results
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained import convert
from jepa_jax.pretrained.dinov2 import ARCHS, HUGGING_FACE_LAYOUT, RELEASED_IMAGE_SIZE
from jepa_jax.pretrained.family import Layout
from jepa_jax.pretrained.table import Rule, patches, rows, transposed

MAX_TIME_RATIO = 2.0  # goal: loading, relative to reading and one copy


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    arch: str = "vitl14"
    """Size of the network: vits14, vitb14 or vitl14."""
    repeats: int = 4
    """Number of rounds; reading, copying and loading take turns in each."""
    out: str = "benchmarks/results"
    """Folder of the results. load_speed.json and .md are written in its subfolder for the device, such as cpu."""


def main(args: list[str]) -> int:
    """Measure, print and write the results.

    Returns:
      0; 2 if the arguments are wrong.
    """
    if args[:1] == ["--peak"]:  # the process whose peak memory is measured
        before = process_memory()
        jax.block_until_ready(jax.tree.leaves(convert(args[1]).encoder))
        print(process_memory() - before)
        return 0
    console = Console(stderr=True, highlight=False)
    try:
        a = parse(Arguments, args, prog="python -m benchmarks.load_speed", description=__doc__ or "")
        if a.arch not in ARCHS or a.repeats < 1:
            raise ConfigError(f"--arch is one of {', '.join(ARCHS)}, and --repeats at least 1")
        results = results_folder(a.out)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with console.status("writing a file of weights") as status:
        found = measure(a.arch, a.repeats, status)
    table = results_table(found)
    print(table)
    write_results(results, "load_speed", f"# Loading foreign weights\n\n{table}", {"about": environment(), **found})
    return 0


def measure(name: str, repeats: int, status: Status) -> dict[str, Any]:
    """Time reading, copying and loading in turns, and measure the peak memory of loading.

    Args:
      name: Size of the network.
      repeats: Number of rounds.
      status: Status line for progress.

    Returns:
      `bytes` of the file; seconds [repeats] as `read`, `copied` and `loaded`; `peak` in bytes.
    """
    arch = ARCHS[name]
    config = ViT(RELEASED_IMAGE_SIZE, 14, arch.width, arch.depth, arch.heads, layer_scale=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(dict(random_tensors(config, HUGGING_FACE_LAYOUT)), path)
        read, copied, loaded = [], [], []
        for i in range(repeats):
            status.update(f"round {i + 1} of {repeats}")
            started = time.perf_counter()
            content = np.fromfile(path, np.uint8)
            read.append(time.perf_counter() - started)
            started = time.perf_counter()
            content.copy()
            copied.append(time.perf_counter() - started)
            del content
            started = time.perf_counter()
            jax.block_until_ready(jax.tree.leaves(convert(path).encoder))
            loaded.append(time.perf_counter() - started)
        size = path.stat().st_size
        peak = int(subprocess.check_output([sys.executable, "-m", "benchmarks.load_speed", "--peak", str(path)]))
    return {"arch": name, "bytes": size, "read": read, "copied": copied, "loaded": loaded, "peak": peak}


def results_table(found: dict[str, Any]) -> str:
    """Return the best times and the peak memory as a table in markdown."""
    read, copied, loaded = (min(found[key]) for key in ("read", "copied", "loaded"))
    ratio = loaded / (read + copied)
    return markdown_table(
        ["file", "reading the bytes, s", "one copy, s", "loading, s", "loading / (reading + copy)", "peak / file"],
        [
            [
                f"{found['arch']}, {found['bytes'] / 1e9:.2f} GB",
                *(f"{seconds:.2f}" for seconds in (read, copied, loaded)),
                f"{ratio:.2f} (goal: at most {MAX_TIME_RATIO:g})",
                f"{found['peak'] / found['bytes']:.2f}",
            ]
        ],
    )


def random_tensors(config: ViT, layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and random values of the tensors that a file of this layout has for a network of this size."""
    rng = np.random.default_rng(0)
    abstract = jax.eval_shape(lambda: config.network.init(jax.random.key(0)))
    shapes = {name: leaf.shape for name, leaf in flat(abstract).items()}
    seen = set()
    for rule in layout.rules:
        if rule.target not in shapes or (rule.target, rule.part) in seen:
            continue  # a name that only other variants have
        seen.add((rule.target, rule.part))
        blocks = range(config.depth) if "{i}" in rule.source else (0,)
        for i in blocks:
            shape = foreign_shape(
                rule, shapes[rule.target][1:] if "{i}" in rule.source else shapes[rule.target], config
            )
            yield rule.source.replace("{i}", str(i)), 0.02 * rng.standard_normal(shape, np.float32)


def foreign_shape(rule: Rule, shape: tuple[int, ...], config: ViT) -> tuple[int, ...]:
    """Return the shape in the file of a tensor that becomes a parameter of this shape."""
    shape = (*shape[:-1], shape[-1] // rule.part[1])
    if rule.how is transposed:
        return shape[::-1]
    if rule.how is patches:
        return (config.width, config.channels, config.patch_size, config.patch_size)
    return (1, *shape) if rule.how is rows else shape


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
