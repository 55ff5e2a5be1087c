"""Masked sensors and times of series in four regimes, as in Brain-JEPA (arXiv 2409.19407), with SIGReg.

    python -m train processes_brainjepa

The exact density of the series is known: `python -m benchmarks.family --rows processes density`.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of two times of one sensor."""
    return Config(
        steps=1500,
        data=Data(source="processes", batch_size=128),
        encoder=ViT(patch_size=(1, 2), row_positions="learned", width=48, depth=2, heads=3, dim=48),
        recipe=Masked(
            ema=0.99,
            ema_end=1.0,
            mask=Cross(
                rows="subset",
                row_share=(0.25, 0.5),
                columns="runs",
                column_share=(0.25, 0.4),
                asked_share=(0.5, 0.8),
            ),
            predictor_width=48,
            predictor_depth=1,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64, distance="smooth_l1"),
        optim=Optim(lr=2e-3),
        monitor=Monitor(every=500, probes=512, labelled=1000),
    )
