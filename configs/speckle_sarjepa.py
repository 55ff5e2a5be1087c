"""Gradients of hidden patches from visible ones, as in SAR-JEPA (arXiv 2311.15153), and what both halves share.

    python -m train speckle_sarjepa

The targets are ratios of brightness at four scales, which speckle leaves alone; none of them can collapse. The visible
and the hidden half of such an image share nothing but the target and its place, which is what a second prediction
learns: of the embedding of one half from that of the other, with InfoNCE.
"""

from jepa_jax.config import Config, Data, Masked, Monitor, Objective, Optim, ViT, Windows


def get_config() -> Config:
    """Patches of 4 x 4 pixels, of which a random half is hidden."""
    return Config(
        steps=3000,
        data=Data(source="speckle", batch_size=128, noise=0.0),
        encoder=ViT(patch_size=4, width=48, depth=2, heads=3, dim=32),
        recipe=Masked(
            target="gradient",
            normed=False,
            mask=Windows(size=4, share=0.5),
            predictor_width=48,
            predictor_depth=1,
            pair_weight=1.0,
            pair_of="masks",
        ),
        objective=Objective(anti_collapse="infonce", temperature=0.2),
        optim=Optim(lr=2e-3),
        monitor=Monitor(every=500, probes=256, labelled=1000),
    )
