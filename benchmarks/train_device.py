"""What an accelerator makes of a ViT-S/16 at 224 px in bfloat16, and what share of its matrix product rate that is."""

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
from jepa_jax.resolve import resolve
from jepa_jax.training.cost import matmul_flops
from jepa_jax.training.step import make_trainer

BATCHES = (512, 256, 128, 64, 32)  # the first that fits
STEPS = 20
SIDE = 8192  # of the matrices


def on_device() -> Part:
    """The encoder of `imagenet_lejepa` with its large crops alone, on one device."""
    config = imagenet_lejepa.get_config()
    # What is computed a second time would count as arithmetic.
    optim = dataclasses.replace(config.optim, remat=False)
    config = dataclasses.replace(config, views=dataclasses.replace(config.views, local_views=0), optim=optim)
    row = largest(config)
    text = f"""The encoder of `imagenet_lejepa` in bfloat16 on one device, whole training steps on one batch of random
bytes that stays there; {row["views"]} views of 224 px of each image, and no small ones. Batch {row["batch"]} is the
first of {", ".join(map(str, BATCHES))} that fits. {STEPS} steps in one dispatch after a warm-up. The FLOPs are those of
all matrix products of a step; their share is of the rate of a product of two matrices of side {SIDE} in the same
run."""
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
    """Measure the largest of BATCHES that fits."""
    for batch in BATCHES:
        try:
            return measure(config, batch, STEPS, SIDE)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or batch == BATCHES[-1]:
                raise
    raise AssertionError("there are batches")


def measure(config: Config, batch: int, steps: int, side: int) -> dict[str, Any]:
    """Images per second of a stream's config in batches of this size, and the share of the matrix product rate."""
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
    """FLOP/s of products of two square matrices of this side."""
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)
    return matmul_rate(lambda: multiply(a, b).block_until_ready(), side)
