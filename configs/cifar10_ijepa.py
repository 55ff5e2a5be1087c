"""I-JEPA on CIFAR-10: the teacher's tokens of hidden patches are predicted from visible ones.

    python -m train cifar10_ijepa

Takes some hours on one GPU or a TPU host. CIFAR-10 must be prepared once with TFDS; the error message explains how.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Config, Crops, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """The embedding is the mean of the target encoder's tokens."""
    return Config(
        steps=40_000,
        data=Data(source="tfds:cifar10", probe_source="tfds:cifar10:test", batch_size=512, size=32),
        views=Crops(global_views=1, global_scale=(0.3, 1.0), jitter=0.0, grey=0.0),
        encoder=ViT(patch_size=4, width=192, depth=9, heads=3, dim=192),
        recipe=Masked(ema=0.996, ema_end=1.0, predictor_width=96, predictor_depth=3),
        objective=Objective(anti_collapse="none"),
        optim=Optim(lr=1e-3, warmup_steps=1000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16"),
        monitor=Monitor(every=2000, probes=512, against=("inverted", "rotated", "noise"), labelled=10_000),
    )
