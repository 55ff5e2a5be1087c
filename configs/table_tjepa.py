"""Masked columns of a table whose exact density is known, as in T-JEPA (arXiv 2410.05016), with SIGReg.

    python -m train table_tjepa

The score is along the numeric columns, which are the tangent space of a row; another category is another sample.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """A token a column; the embedding is all tokens one after the other."""
    return Config(
        steps=1500,
        data=Data(source="table", batch_size=256),
        encoder=ViT(
            patch_size=1,
            per_row=True,
            row_positions="learned",
            column_positions="none",
            width=24,
            depth=2,
            heads=3,
            readout="flatten",
            dim=None,
        ),
        recipe=Masked(
            ema=0.99,
            ema_end=1.0,
            mask=Cross(rows="subset", row_share=(0.3, 0.7), asked=("rows",), targets=2),
            predictor_width=24,
            predictor_depth=1,
            pair_weight=0.1,
        ),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=500, probes=512, labelled=1000),
    )
