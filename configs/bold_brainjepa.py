"""Masked times of brain activity, as in Brain-JEPA (arXiv 2409.19407), and windows that follow, on seven people.

    python -m train bold_brainjepa

Needs `pip install 'jepa-jax[family]'`. Patches are four frames of all regions. Beside the prediction of hidden times,
InfoNCE tells the window that follows in a recording from those of others. `python -m benchmarks.family --rows bold`
has how well that tells the people apart, beside what the noise level of the regions alone says, and the row as
published: patches of one region, whose positions are gradients of connectivity.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """A third to a half of the times is hidden; smooth L1 distance; InfoNCE at its textbook weight."""
    return Config(
        steps=300,
        data=Data(source="bold", batch_size=64, noise=0.3),
        encoder=ViT(patch_size=(94, 4), width=32, depth=2, heads=2, dim=32),
        recipe=Masked(
            mask=Cross(columns="runs", column_share=(0.3, 0.5), asked=("columns",)),
            pair_weight=1.0,
            predictor_width=24,
            predictor_depth=1,
        ),
        objective=Objective("infonce", temperature=0.3, distance="smooth_l1"),
        optim=Optim(lr=1e-3),
        monitor=Monitor(every=300, probes=64, labelled=371),
    )
