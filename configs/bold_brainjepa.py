"""Masked regions and times of brain activity, as in Brain-JEPA (arXiv 2409.19407), on seven people, with SIGReg.

    python -m train bold_brainjepa

Needs `pip install 'jepa-jax[family]'`. Positions are a learned map of gradients of connectivity, computed from the
data, and sines of time. `python -m benchmarks.family --rows bold` has how well it tells the people apart, beside what
the noise level of the regions alone says.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of 16 frames of one region; smooth L1 distance."""
    return Config(
        steps=300,
        data=Data(source="bold", batch_size=16, noise=0.0),
        encoder=ViT(patch_size=(1, 16), row_positions="given", width=32, depth=2, heads=2, dim=32),
        recipe=Masked(
            ema=0.996,
            ema_end=1.0,
            mask=Cross(
                rows="subset",
                row_share=(0.45, 0.6),
                columns="runs",
                column_share=(0.2, 0.4),
                asked_share=(0.2, 0.4),
            ),
            predictor_width=24,
            predictor_depth=1,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64, distance="smooth_l1"),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=300, probes=64, labelled=371),
    )
