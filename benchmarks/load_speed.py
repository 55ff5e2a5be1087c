"""How long foreign weights take to load, against reading the file's bytes and copying them once.

    python -m benchmarks.load_speed [--arch vits14|vitb14|vitl14] [--repeats N] [--out DIR]

Hardware: any CPU, and room for the file (1.2 GB for vitl14) on disk and three times in memory; about half a minute.
Wanted: at most twice the time of reading the bytes plus one copy.

A safetensors file of DINOv2's sizes is written with random weights, in Hugging Face's names. Loading turns each linear
map around, [out, in] -> [in, out], and stacks the blocks. The file is in the system's cache for both, so that this is
the work above the disk's. They take turns; each is timed at its best. The peak of memory is that of a process that
does nothing else.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

from benchmarks.report import environment, flat, markdown_table, process_memory, write_results
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained import convert
from jepa_jax.pretrained.dinov2 import ARCHS, HUGGING_FACE, RELEASED
from jepa_jax.pretrained.family import Layout
from jepa_jax.pretrained.table import Rule, patches, rows, transposed

BAR = 2.0


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    arch: str = "vitl14"
    """Size of the network."""
    repeats: int = 4
    """Times of each, in turns."""
    out: str = "benchmarks/results"
    """Folder for load_speed.json and load_speed.md."""


def main(args: list[str]) -> int:
    """Measure, print and write."""
    if args[:1] == ["--peak"]:  # the process that only loads
        before = process_memory()
        jax.block_until_ready(jax.tree.leaves(convert(args[1]).encoder))
        print(process_memory() - before)
        return 0
    console = Console(stderr=True, highlight=False)
    try:
        a = parse(Arguments, args, prog="python -m benchmarks.load_speed", description=__doc__ or "")
        if a.arch not in ARCHS or a.repeats < 1:
            raise ConfigError(f"--arch is one of {', '.join(ARCHS)}, and --repeats at least 1")
        make_directory(Path(a.out))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    arch = ARCHS[a.arch]
    config = ViT(RELEASED, 14, arch.width, arch.depth, arch.heads, layer_scale=True)
    with tempfile.TemporaryDirectory() as folder, console.status("writing a file of weights") as status:
        path = Path(folder) / "model.safetensors"
        save_file(dict(random_tensors(config, HUGGING_FACE)), path)
        read, copied, loaded = [], [], []
        for i in range(a.repeats):
            status.update(f"round {i + 1} of {a.repeats}")
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
    ratio = min(loaded) / (min(read) + min(copied))
    table = markdown_table(
        ["file", "reading the bytes, s", "one copy, s", "loading, s", "loading / (reading + copy)", "peak / file"],
        [
            [
                f"{a.arch}, {size / 1e9:.2f} GB",
                *(f"{min(seconds):.2f}" for seconds in (read, copied, loaded)),
                f"{ratio:.2f} (wanted: at most {BAR:g})",
                f"{peak / size:.2f}",
            ]
        ],
    )
    print(table)
    about = environment()
    write_results(
        Path(a.out),
        "load_speed",
        f"# Loading foreign weights\n\n{table}",
        {"about": about, "arch": a.arch, "bytes": size, "read": read, "copied": copied, "loaded": loaded, "peak": peak},
    )
    return 0


def random_tensors(config: ViT, layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that a network of this size has in a file of this layout."""
    rng = np.random.default_rng(0)
    abstract = jax.eval_shape(lambda: config.network.init(jax.random.key(0)))
    shapes = {name: leaf.shape for name, leaf in flat(abstract).items()}
    seen = set()
    for rule in layout.rules:
        if rule.target not in shapes or (rule.target, rule.part) in seen:
            continue  # a spelling that only other variants have
        seen.add((rule.target, rule.part))
        blocks = range(config.depth) if "{i}" in rule.source else (0,)
        for i in blocks:
            shape = foreign_shape(
                rule, shapes[rule.target][1:] if "{i}" in rule.source else shapes[rule.target], config
            )
            yield rule.source.replace("{i}", str(i)), 0.02 * rng.standard_normal(shape, np.float32)


def foreign_shape(rule: Rule, shape: tuple[int, ...], config: ViT) -> tuple[int, ...]:
    """The shape in the file of what becomes a parameter of this shape."""
    shape = (*shape[:-1], shape[-1] // rule.part[1])
    if rule.how is transposed:
        return shape[::-1]
    if rule.how is patches:
        return (config.width, config.channels, config.patch_size, config.patch_size)
    return (1, *shape) if rule.how is rows else shape


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
