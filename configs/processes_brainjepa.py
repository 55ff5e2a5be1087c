"""Hidden times of series in four regimes, as in Brain-JEPA (arXiv 2409.19407), by the products of their numbers.

    python -m train processes_brainjepa

The regimes differ in their covariances, of which tokens and numbers say little. The targets are products of any two
whitened numbers of a hidden patch, which cannot collapse, and the times beside visible ones are not asked for, since
those are predictable from their neighbours alone. `python -m benchmarks.family --rows processes` has how well a probe
tells the regimes apart, beside the row as published.
"""

from jepa_jax.config import Config, Cross, Data, Masked, Monitor, Objective, Optim, ViT


def get_config() -> Config:
    """Patches of two times of all sensors."""
    return Config(
        steps=10_000,
        data=Data(source="processes", batch_size=128, noise=0.0),
        encoder=ViT(patch_size=(8, 2), width=48, depth=2, heads=3, dim=48),
        recipe=Masked(
            target="products",
            normed=False,
            mask=Cross(columns="runs", column_share=(0.5, 0.5), column_gap=1),
            predictor_width=48,
            predictor_depth=1,
        ),
        objective=Objective(anti_collapse="none"),
        optim=Optim(lr=4e-3),
        monitor=Monitor(every=2500, probes=512, labelled=1000),
    )
