"""Masked spectrograms with a curriculum of masks, as in A-JEPA (arXiv 2311.15830), and neighbours, on spoken vowels.

    python -m train vowels_ajepa

Needs `pip install 'jepa-jax[family]'`. Blocks are hidden at first, and more and more often runs of times and
frequencies. Beside their prediction, InfoNCE tells a similar spectrogram, one of the ten nearest, from others.
`python -m benchmarks.family --rows vowels` has what a linear probe reads from three labels a speaker.
"""

from jepa_jax.config import Blocks, Config, Cross, Curriculum, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of 4 x 4 of a spectrogram of 24 x 24."""
    return Config(
        steps=900,
        data=Data(source="vowels", batch_size=64, noise=0.3, neighbours=10),
        encoder=ViT(patch_size=4, width=48, depth=2, heads=3, dim=16),
        recipe=Masked(
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
            pair_weight=5.0,
            predictor_width=24,
            predictor_depth=1,
        ),
        # The textbook weight of InfoNCE, 2 tau, beside a pair of weight 5.
        objective=Objective("infonce", temperature=0.3, weight=3.0),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=300, probes=270, labelled=270),
    )
