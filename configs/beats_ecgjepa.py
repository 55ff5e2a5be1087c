"""Masked times of an electrocardiogram, as in ECG-JEPA (arXiv 2410.13867), on rendered heartbeats, with SIGReg.

    python -m train beats_ecgjepa

All leads are hidden at the same times. `--recipe.mask.columns subset` hides times at random (arXiv 2410.08559).
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Tokens of four samples of all leads, with a register, L1 distance and targets that are not normalised."""
    return Config(
        steps=1000,
        data=Data(source="beats", batch_size=128),
        encoder=ViT(patch_size=(4, 4), row_positions="none", width=48, depth=3, heads=3, registers=1, dim=48),
        recipe=Masked(
            ema=0.996,
            ema_end=0.9995,
            normed=False,
            mask=Cross(columns="runs", column_share=(0.6, 0.75), column_runs=2, asked=("columns",)),
            predictor_width=48,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64, distance="l1"),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=500, probes=512, labelled=1000),
    )
