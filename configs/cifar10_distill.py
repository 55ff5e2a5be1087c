"""Self-distillation on CIFAR-10: DINO's heads, Sinkhorn targets, and KoLeo on the sphere.

    python -m train cifar10_distill

Takes some hours on one GPU or a TPU host. CIFAR-10 must be prepared once with TFDS; the error message explains how.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Config, Crops, Data, Distill, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """The teacher is a moving average of the weights, and is the result."""
    return Config(
        steps=40_000,
        data=Data(source="tfds:cifar10", probe_source="tfds:cifar10:test", batch_size=512, size=32),
        views=Crops(local_views=4, global_scale=(0.3, 1.0), local_scale=(0.05, 0.3), local_size=16),
        encoder=ViT(patch_size=4, width=192, depth=9, heads=3, dim=192),
        recipe=Distill(ema=0.99, ema_end=1.0, prototypes=1024),
        objective=Objective(anti_collapse="koleo", weight=0.1),
        optim=Optim(lr=1e-3, warmup_steps=1000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16"),
        monitor=Monitor(every=2000, probes=512, against=("inverted", "rotated", "noise"), labelled=10_000),
    )
