"""LeJEPA on ImageNet, ViT-S/16: crops predict the mean of the large ones, and SIGReg keeps the embedding Gaussian.

    python -m train imagenet_lejepa --distributed

Runs on a TPU slice, or on a machine with several GPUs without --distributed. ImageNet must be prepared once with TFDS.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Checkpoints, Config, Crops, Data, Monitor, Multiview, Objective, Optim, ViT


def get_config() -> Config:
    """SIGReg acts on the embedding itself, so that its distribution is N(0, I) and the log-density is defined."""
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
        encoder=ViT(patch_size=16, width=384, depth=12, heads=6, dim=128),
        recipe=Multiview(),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=1024),
        optim=Optim(
            lr=1e-3, warmup_steps=5000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", remat=True, ema=0.9998
        ),
        monitor=Monitor(every=5000, probes=128, labelled=20_000),
        checkpoint=Checkpoints(every=2500),
    )
