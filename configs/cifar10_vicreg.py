"""VICReg on CIFAR-10: two crops are compared after a projector, with variance and covariance terms.

    python -m train cifar10_vicreg

Takes some hours on one GPU or a TPU host. CIFAR-10 must be prepared once with TFDS; the error message explains how.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Config, Crops, Data, Monitor, Objective, Optim, Pair, ViT


def get_config() -> Config:
    """The losses act on the output of a projector, as published; the distribution of the embedding is unknown."""
    return Config(
        steps=40_000,
        data=Data(source="tfds:cifar10", probe_source="tfds:cifar10:test", batch_size=512, size=32),
        views=Crops(global_scale=(0.2, 1.0)),
        encoder=ViT(patch_size=4, width=192, depth=9, heads=3, dim=192),
        recipe=Pair(projector=(1024, 1024)),
        objective=Objective(anti_collapse="vicreg"),
        optim=Optim(lr=1e-3, warmup_steps=1000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", ema=0.999),
        monitor=Monitor(every=2000, probes=512, against=("inverted", "rotated", "noise"), labelled=10_000),
    )
