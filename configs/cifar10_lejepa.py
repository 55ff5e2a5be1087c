"""LeJEPA on CIFAR-10: crops predict the mean of the large ones, and SIGReg keeps the embedding Gaussian.

    python -m train cifar10_lejepa

Takes some hours on one GPU or a TPU host. CIFAR-10 must be prepared once with TFDS; the error message explains how.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Config, Crops, Data, Monitor, Multiview, Objective, Optim, ViT


def get_config() -> Config:
    """SIGReg acts on the embedding itself, so that its distribution is N(0, I) and the log-density is defined."""
    return Config(
        steps=40_000,
        data=Data(source="tfds:cifar10", probe_source="tfds:cifar10:test", batch_size=512, size=32),
        views=Crops(local_views=4, global_scale=(0.3, 1.0), local_scale=(0.05, 0.3), local_size=16),
        encoder=ViT(patch_size=4, width=192, depth=9, heads=3, dim=64),
        recipe=Multiview(),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=1024),
        optim=Optim(lr=1e-3, warmup_steps=1000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", ema=0.999),
        monitor=Monitor(every=2000, probes=512, against=("inverted", "rotated", "noise"), labelled=10_000),
    )
