"""Masked columns of a table, as in T-JEPA (arXiv 2410.05016), on the diamonds of plotnine, with SIGReg.

    python -m train diamonds_tjepa

Needs `pip install 'jepa-jax[family]'`. `python -m benchmarks.family --rows diamonds` has what a linear probe reads.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """A token a column, with a register; the embedding is all tokens one after the other.

    T-JEPA has no anti-collapse term: --objective.anti-collapse none.
    """
    return Config(
        steps=1000,
        data=Data(source="diamonds", batch_size=256, noise=0.0),
        encoder=ViT(
            patch_size=1,
            per_row=True,
            row_positions="learned",
            column_positions="none",
            width=24,
            depth=3,
            heads=3,
            registers=1,
            readout="flatten",
            dim=None,
        ),
        recipe=Masked(
            ema=0.996,
            ema_end=1.0,
            normed=False,
            mask=Cross(rows="subset", row_share=(0.6, 0.85), asked=("rows",), asked_share=(0.2, 0.7), targets=4),
            predictor_width=24,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.02, num_slices=64),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=500, probes=512, labelled=1000),
    )
