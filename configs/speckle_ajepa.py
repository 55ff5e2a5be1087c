"""Masked blocks of a spectrogram of one look, as in the first half of A-JEPA (arXiv 2311.15830), with SIGReg.

    python -m train speckle_ajepa

The exact density of the power spectrum is known: `python -m benchmarks.family --rows density`.
"""

from jepa_jax.config import Blocks, Config, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of 4 x 4 of 16 x 16 log-powers."""
    return Config(
        steps=600,
        data=Data(source="speckle_1", batch_size=128),
        encoder=ViT(patch_size=4, width=48, depth=2, heads=3, dim=48),
        recipe=Masked(ema=0.99, ema_end=1.0, mask=Blocks(targets=2), predictor_width=48, predictor_depth=1),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=300, probes=256, labelled=1000),
    )
