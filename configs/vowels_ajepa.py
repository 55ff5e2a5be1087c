"""Masked spectrograms with a curriculum of masks, as in A-JEPA (arXiv 2311.15830), on spoken vowels, with SIGReg.

    python -m train vowels_ajepa

Needs `pip install 'jepa-jax[family]'`. Blocks are hidden at first, and more and more often runs of times and
frequencies. `python -m benchmarks.family --rows vowels` has what a linear probe reads from three labels a speaker.
"""

from jepa_jax.config import Blocks, Config, Cross, Curriculum, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of 4 x 4 of a spectrogram of 24 x 24."""
    return Config(
        steps=1000,
        data=Data(source="vowels", batch_size=64, noise=0.0),
        encoder=ViT(patch_size=4, width=48, depth=3, heads=3, dim=48),
        recipe=Masked(
            ema=0.99,
            ema_end=1.0,
            mask=Curriculum(
                early=Blocks(targets=3),
                late=Cross(
                    rows="runs",
                    row_share=(0.3, 0.5),
                    columns="runs",
                    column_share=(0.3, 0.5),
                    asked=("both",),
                ),
            ),
            predictor_width=48,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=500, probes=270, labelled=270),
    )
