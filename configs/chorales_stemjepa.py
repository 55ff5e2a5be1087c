"""One voice of a chorale from the other three and its name, as in Stem-JEPA (arXiv 2408.02514), with SIGReg.

    python -m train chorales_stemjepa

Needs `pip install 'jepa-jax[family]'`. `python -m benchmarks.family --rows chorales` finds the voice among those
of other pieces.
"""

from jepa_jax.config import Config, Data, Monitor, Objective, Optim, Pair, ViT


def get_config() -> Config:
    """Tokens of all semitones and two eighths; one MLP predicts each token of the voice from that of the mix."""
    return Config(
        steps=2000,
        data=Data(source="chorales", batch_size=192, noise=0.0),
        encoder=ViT(patch_size=(72, 2), width=96, depth=2, heads=4, dim=96),
        recipe=Pair(predictor=(256, 256), direction="forward", target="tokens", ema=0.99, ema_end=1.0),
        objective=Objective(anti_collapse="sigreg", weight=0.02, num_slices=64, distance="cosine"),
        optim=Optim(lr=1e-3, weight_decay=0.05),
        monitor=Monitor(every=1000, probes=256, labelled=500),
    )
