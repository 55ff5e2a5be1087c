"""VICReg on ImageNet, ViT-S/16: two crops are compared after a projector, with variance and covariance terms.

    python -m train imagenet_vicreg --distributed

Runs on a TPU slice, or on a machine with several GPUs without --distributed. ImageNet must be prepared once with TFDS.
This config has not been run to its end; tests build it and take steps on made-up images.
"""

from jepa_jax.config import Checkpoints, Config, Crops, Data, Monitor, Objective, Optim, Pair, ViT


def get_config() -> Config:
    """The losses act on the output of a projector, as published; the distribution of the embedding is unknown."""
    return Config(
        steps=125_000,
        data=Data(
            source="tfds:imagenet2012",
            probe_source="tfds:imagenet2012:validation",
            batch_size=1024,
            size=224,
            workers=16,
        ),
        views=Crops(global_scale=(0.2, 1.0), blur=0.5),
        encoder=ViT(patch_size=16, width=384, depth=12, heads=6, dim=384),
        recipe=Pair(projector=(4096, 4096)),
        objective=Objective(anti_collapse="vicreg"),
        optim=Optim(
            lr=1e-3, warmup_steps=5000, weight_decay=0.05, clip_norm=3.0, compute="bfloat16", remat=True, ema=0.9998
        ),
        monitor=Monitor(every=5000, probes=128, labelled=20_000),
        checkpoint=Checkpoints(every=2500),
    )
