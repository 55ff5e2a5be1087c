"""Self-distillation on the sprites: the teacher's prototypes for one view from the student's, and KoLeo.

    python -m train sprites_distill

Takes less than a minute on one core. Spearman correlation of JEPA-SCORE with the exact log-density: 0.94 for seeds 0
and 1 (its top four singular values 0.94, along the tangent 0.96), compared with 0.54 and 0.66 on the untrained encoder.
"""

from jepa_jax.config import MLP, Config, Data, Distill, Monitor, Objective, Optim


def get_config() -> Config:
    """A small weight of KoLeo on the embedding itself, which is on a sphere and so has a known distribution.

    After 600 steps, the correlation reaches 0.83 without KoLeo; with ten times the weight it is 0.87, and decreasing.
    """
    return Config(
        steps=1000,
        data=Data(source="sprites", batch_size=256, noise=0.05, rho=0.95),
        encoder=MLP(widths=(256, 256), dim=16),
        recipe=Distill(ema=0.99, ema_end=1.0),
        objective=Objective(anti_collapse="koleo", weight=0.03),
        optim=Optim(lr=2e-3, ema=0.99),
        monitor=Monitor(every=200),
    )
