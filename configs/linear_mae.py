"""Deep linear masked autoencoder, the counterpart of `linear_jepa` that predicts the partner itself.

    python -m train linear_mae

Takes about half a minute on two cores. The feature with the largest covariance is learned first.
"""

from jepa_jax.config import Config, Data, Linear, Monitor, Objective, Optim, Pair


def get_config() -> Config:
    """The same network, whose predictor maps to the partner instead of its embedding."""
    return Config(
        steps=2000,
        data=Data(source="linear", batch_size=16384),
        encoder=Linear(depth=3, start=0.3),
        recipe=Pair(predictor="linear", direction="forward", target="sample"),
        objective=Objective(anti_collapse="none", prediction_weight=0.5),
        optim=Optim(optimizer="sgd", lr=0.02, decay="none", warmup_steps=0),
        monitor=Monitor(every=125, probes=512),
    )
