"""Speed of a ViT-S/16 at 224 px in bfloat16 on an accelerator, and its share of the matrix-product rate."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.part import Part
from benchmarks.report import matmul_rate
from configs import imagenet_lejepa
from jepa_jax.config import Config, Crops
from jepa_jax.data.abstract import abstract_source
from jepa_jax.matmuls import matmul_flops
from jepa_jax.resolve import resolve
from jepa_jax.training.step import make_trainer

BATCH_SIZES = (512, 256, 128, 64, 32)  # the first that fits in memory is measured
STEPS = 20
MATRIX_SIDE = 8192  # rows and columns of the matrices whose product is timed


def on_device() -> Part:
    """Measure the encoder of `imagenet_lejepa` on one device, without the small crops."""
    config = imagenet_lejepa.get_config()
    # Rematerialised products would be counted as arithmetic.
    optim = dataclasses.replace(config.optim, remat=False)
    config = dataclasses.replace(config, views=dataclasses.replace(config.views, local_views=0), optim=optim)
    row = largest(config)
    text = f"""The encoder of `imagenet_lejepa` in bfloat16 on one device, whole training steps on one batch of random
bytes that stays there; {row["views"]} views of 224 px of each image, and no small ones. Batch {row["batch"]} is the
first of {", ".join(map(str, BATCH_SIZES))} that fits. {STEPS} steps in one dispatch after a warm-up. The FLOPs are
those of all matrix products of a step. The share is relative to the rate of a product of two matrices of side
{MATRIX_SIDE} in the same run."""
    header = ["batch", "images/s", "views/s", "TFLOP/s", "matmul TFLOP/s", "share"]
    line = [
        str(row["batch"]),
        f"{row['images_per_second']:.0f}",
        f"{row['views'] * row['images_per_second']:.0f}",
        f"{row['flops_per_second'] / 1e12:.1f}",
        f"{row['matmul_rate'] / 1e12:.1f}",
        f"{100 * row['share']:.0f} %",
    ]
    return Part("ViT-S/16 at 224 px on the device", text, header, [line], [], [row])


def largest(config: Config) -> dict[str, Any]:
    """Measure the largest of BATCH_SIZES that fits in memory."""
    for batch in BATCH_SIZES:
        try:
            return measure(config, batch, STEPS, MATRIX_SIDE)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or batch == BATCH_SIZES[-1]:
                raise
    raise AssertionError("BATCH_SIZES is empty")


def measure(config: Config, batch: int, steps: int, side: int) -> dict[str, Any]:
    """Measure images per second and the share of the matrix-product rate; return the row for JSON.

    Args:
      config: Config of a run on a stream.
      batch: Batch size.
      steps: Number of timed training steps.
      side: Rows and columns of the matrices whose product is timed.
    """
    views = config.views
    source = abstract_source(dataclasses.replace(config.data, batch_size=batch))
    config = resolve(config, source)
    trainer = make_trainer(config, source)
    images = np.random.default_rng(0).integers(0, 256, (batch, *source.shape), np.uint8)
    arrays = jax.device_put({"x": images, "index": np.arange(batch, dtype=np.uint32)})
    state = trainer.init()
    flops = matmul_flops(jax.make_jaxpr(trainer.run)(state, arrays, 0, 1).jaxpr)
    state, _ = jax.block_until_ready(trainer.run(state, arrays, 0, 2))
    started = time.perf_counter()
    jax.block_until_ready(trainer.run(state, arrays, 2, 2 + steps))
    seconds = time.perf_counter() - started
    best = bfloat16_rate(side)
    return {
        "batch": batch,
        "views": views.global_views if isinstance(views, Crops) else 2,
        "steps": steps,
        "images_per_second": steps * batch / seconds,
        "flops_per_step": flops,
        "flops_per_second": steps * flops / seconds,
        "matmul_rate": best,
        "share": steps * flops / seconds / best,
    }


def bfloat16_rate(side: int) -> float:
    """Return the FLOP/s of a product of two square bfloat16 matrices with `side` rows."""
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)
    return matmul_rate(lambda: multiply(a, b).block_until_ready(), side)
