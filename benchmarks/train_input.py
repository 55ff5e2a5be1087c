"""Whether the input pipeline keeps up with the devices: training on a folder of JPEG files, as `train` does it.

The files are many times larger than the decoded and resized images, so that decoding is most of the reading.
"""

import dataclasses
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.part import Part, spread
from configs import cifar10_lejepa
from jepa_jax.config import Config, ViT
from jepa_jax.data import Source, open_source
from jepa_jax.resolve import resolve
from jepa_jax.sharding import training_mesh
from jepa_jax.training.input_pipeline import InputPipeline
from jepa_jax.training.step import State, Trainer, make_trainer

MAX_IDLE_SHARE = 0.05  # goal: share of time in which the devices wait
FILE_SIDE = 256  # pixels of an image file, before it is resized to the config's size
WARM_UP_STEPS = 2
REPEATS = 3


class RepeatedBatch:
    """Stream that returns the first batch of another stream again and again."""

    def __init__(self, source: Source) -> None:
        """Read the first batch of a dataset."""
        assert source.batches is not None
        batches = source.batches()
        self.spec, self._batch = batches.spec, next(batches)
        batches.close()

    def __next__(self) -> dict[str, np.ndarray]:
        """Return the batch."""
        return self._batch

    def get_state(self) -> dict[str, int]:
        """Return an empty state, because the stream has no position."""
        return {}

    def close(self) -> None:
        """Do nothing, because nothing is read ahead."""


def keeping_up() -> Part:
    """Measure LeJEPA at CIFAR-10's sizes; on a CPU with a smaller network."""
    config = cifar10_lejepa.get_config()
    small = jax.devices()[0].platform == "cpu"
    assert isinstance(config.encoder, ViT)
    if small:
        encoder = dataclasses.replace(config.encoder, depth=1, width=48)
        config = dataclasses.replace(
            config, encoder=encoder, optim=dataclasses.replace(config.optim, compute="float32")
        )
    row = measure(config, files=config.data.batch_size, side=FILE_SIDE, steps=5 if small else 100)
    rates = [f"{row['images_per_second'][name]:.0f}" for name in ("decoding", "step", "together")]
    remarks = []
    if small:
        remarks = [
            f"the ViT has depth {row['depth']} and width {row['width']} in float32 here, because the "
            "config's own is too slow for a CPU; batch, views and losses are the config's",
            "decoding and the step share the cores: together they cannot be as fast as the slower one alone",
        ]
    text = f"""The shapes of `cifar10_lejepa` (batch {row["batch"]}, its views), read from {row["files"]} JPEG files of
{FILE_SIDE} x {FILE_SIDE} pixels through the program's stream; median of {REPEATS} repetitions of {row["steps"]} steps.
Images per second of decoding alone, of the step alone on one batch that stays the same, and of both together. The idle
share (minimum to maximum) is the one that the program reports."""
    header = ["decoding/s", "step/s", "together/s", "idle share", "goal"]
    idle = {name: f"{100 * share:.1f}" for name, share in row["idle_share"].items()}
    line = [
        *rates,
        f"{idle['median']} % ({idle['min']} to {idle['max']})",
        f"under {100 * MAX_IDLE_SHARE:g} %",
    ]
    return Part("The input pipeline", text, header, [line], remarks, [row])


def measure(config: Config, files: int, side: int, steps: int) -> dict[str, Any]:
    """Measure images per second and the share of time in which the devices wait; return the row for JSON.

    Args:
      config: Config of a run on a stream; its dataset is replaced by a folder of images.
      files: Number of image files.
      side: Height and width of the image files in pixels.
      steps: Training steps in each repetition.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), files, side)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=folder, probe_source=""))
        source = open_source(config.data, config.seed)
        config = resolve(config, source)
        mesh = training_mesh(config.mesh)
        trainer = make_trainer(config, source, mesh)
        decoding = decoding_rate(source)
        same: Any = RepeatedBatch(source)
        still = InputPipeline(dataclasses.replace(source, batches=lambda: same), mesh, None)
        state = still.compile(trainer, trainer.init(), 0)
        state, alone, _ = timed(still, trainer, state, steps)
        feed = InputPipeline(source, mesh, None)
        try:
            _, seconds, shares = timed(feed, trainer, state, steps)
        finally:
            feed.close()
    images = steps * source.batch_size
    return {
        "batch": source.batch_size,
        "files": files,
        "side": side,
        "steps": steps,
        "depth": getattr(config.encoder, "depth", None),
        "width": getattr(config.encoder, "width", None),
        "compute": config.optim.compute,
        "repeats": REPEATS,
        "images_per_second": {"decoding": decoding, "step": images / alone, "together": images / seconds},
        "idle_share": shares,
        "bar": MAX_IDLE_SHARE,
        "reached": shares["median"] < MAX_IDLE_SHARE,
    }


def timed(feed: InputPipeline, trainer: Trainer, state: State, steps: int) -> tuple[State, float, dict[str, float]]:
    """Time steps on a stream after a warm-up.

    Args:
      feed: Input pipeline.
      trainer: Compiled steps.
      state: State of training.
      steps: Training steps in each of REPEATS repetitions.

    Returns:
      State after the steps; median of the seconds of a repetition; spread of the idle shares.
    """
    state, _ = feed.advance(trainer, state, 0, WARM_UP_STEPS)
    seconds, shares = [], []
    for _ in range(REPEATS):
        feed.idle = 0.0
        started = time.perf_counter()
        state, _ = feed.advance(trainer, state, WARM_UP_STEPS, WARM_UP_STEPS + steps)
        seconds.append(time.perf_counter() - started)
        shares.append(feed.idle / seconds[-1])
    return state, float(np.median(seconds)), spread(shares)


def decoding_rate(source: Source) -> float:
    """Return the images per second of reading alone."""
    assert source.batches is not None
    batches = source.batches()
    # Each thread reads whole batches, so batches arrive in bursts of one per thread. Whole bursts are counted, without
    # the first.
    threads = os.cpu_count() or 1
    for _ in range(threads):
        next(batches)
    started = time.perf_counter()
    for _ in range(2 * threads):
        next(batches)
    seconds = time.perf_counter() - started
    batches.close()
    return 2 * threads * source.batch_size / seconds


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Write random images, smooth with some grain, whose files are about as large as those of photographs."""
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8))
        grain = draw.integers(-12, 13, (side, side, 3))
        x = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) + grain
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04}.jpg", quality=90)
