"""VICReg on CIFAR-10: two crops compared behind a projector, whose variance and covariance are kept.

python -m train cifar10_vicreg

One GPU or a TPU host, some hours. CIFAR-10 has to be prepared once with TFDS, and the error message says how. We have
not run it to its end: tests build it and take steps on made-up images.
"""

from jepa_jax.config import Config, Crops, Data, Monitor, Objective, Optim, Pair, ViT


def get_config() -> Config:
    """The losses work behind a projector, as published: the embedding has no known law."""
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
