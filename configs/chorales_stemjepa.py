"""One voice of a chorale from the other three and its name, as in Stem-JEPA (arXiv 2408.02514), with InfoNCE.

    python -m train chorales_stemjepa

Needs `pip install 'jepa-jax[family]'`. `python -m benchmarks.family --rows chorales` finds the voice among those
of other pieces.
"""

from jepa_jax.config import Config, Data, Monitor, Objective, Optim, Pair, ViT


def get_config() -> Config:
    """Tokens of all semitones and two eighths, which one MLP predicts of the voice from those of the mix, all at once.

    Token by token, as published, the own voice is found less often; the benchmark has both.
    """
    return Config(
        steps=1000,
        data=Data(source="chorales", batch_size=192, noise=0.0),
        encoder=ViT(patch_size=(72, 2), width=48, depth=2, heads=3, readout="flatten", dim=384),
        recipe=Pair(predictor=(256,), direction="forward"),
        objective=Objective(anti_collapse="infonce", temperature=0.05),
        optim=Optim(lr=1e-3, weight_decay=0.05),
        monitor=Monitor(every=1000, probes=256, labelled=500),
    )
