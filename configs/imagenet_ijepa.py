"""I-JEPA on ImageNet, ViT-S/16: the teacher's tokens of hidden patches are predicted from visible ones.

    python -m train imagenet_ijepa --distributed

Runs on a TPU slice, or on a machine with several GPUs without --distributed. ImageNet must be prepared once with TFDS.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Checkpoints, Config, Crops, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """The embedding is the mean of the target encoder's tokens."""
    return Config(
        steps=125_000,
        data=Data(
            source="tfds:imagenet2012",
            probe_source="tfds:imagenet2012:validation",
            batch_size=1024,
            size=224,
            workers=16,
        ),
        views=Crops(global_views=1, global_scale=(0.3, 1.0), jitter=0.0, grey=0.0),
        encoder=ViT(patch_size=16, width=384, depth=12, heads=6, dim=384),
        recipe=Masked(ema=0.996, ema_end=1.0, predictor_width=192, predictor_depth=6),
        objective=Objective(anti_collapse="none"),
        optim=Optim(lr=1e-3, warmup_steps=5000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", remat=True),
        monitor=Monitor(every=5000, probes=128, labelled=20_000),
        checkpoint=Checkpoints(every=2500),
    )
