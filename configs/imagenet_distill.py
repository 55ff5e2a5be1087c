"""Self-distillation on ImageNet, ViT-S/16: DINO's heads, Sinkhorn targets, and KoLeo on the sphere.

    python -m train imagenet_distill --distributed

Runs on a TPU slice, or on a machine with several GPUs without --distributed. ImageNet must be prepared once with TFDS.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Checkpoints, Config, Crops, Data, Distill, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """The teacher is a moving average of the weights, and is the result."""
    return Config(
        steps=125_000,
        data=Data(
            source="tfds:imagenet2012",
            probe_source="tfds:imagenet2012:validation",
            batch_size=1024,
            size=224,
            workers=16,
        ),
        views=Crops(local_views=6, global_scale=(0.3, 1.0), local_scale=(0.05, 0.3), local_size=96, blur=0.5),
        encoder=ViT(patch_size=16, width=384, depth=12, heads=6, dim=384),
        recipe=Distill(ema=0.996, ema_end=1.0, prototypes=8192),
        objective=Objective(anti_collapse="koleo", weight=0.1),
        optim=Optim(lr=1e-3, warmup_steps=5000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", remat=True),
        monitor=Monitor(every=5000, probes=128, labelled=20_000),
        checkpoint=Checkpoints(every=2500),
    )
