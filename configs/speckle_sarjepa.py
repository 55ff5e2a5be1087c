"""Gradients of hidden patches from visible ones in local windows, as in SAR-JEPA (arXiv 2311.15153).

    python -m train speckle_sarjepa

The targets are ratios of brightness at four scales, which speckle leaves alone. Nothing can collapse, so that there is
no teacher and no anti-collapse term.
"""

from jepa_jax.config import Config, Data, Masked, Monitor, Objective, Optim, ViT, Windows


def get_config() -> Config:
    """Patches of 2 x 2 pixels; four windows of 5 x 5 tokens an image."""
    return Config(
        steps=1000,
        data=Data(source="speckle", batch_size=128, noise=0.0),
        encoder=ViT(patch_size=2, width=48, depth=3, heads=3, dim=48),
        recipe=Masked(
            target="gradient", normed=False, masks=4, mask=Windows(size=5), predictor_width=48, predictor_depth=1
        ),
        objective=Objective(anti_collapse="none"),
        optim=Optim(lr=2e-3),
        monitor=Monitor(every=500, probes=256, labelled=1000),
    )
