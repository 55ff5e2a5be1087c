"""Automatic recipe for the density of vectors, which needs no choice."""

from jepa_jax.config.data import Data
from jepa_jax.config.encoders import Triangular
from jepa_jax.config.run import Checkpoints, Config, Monitor, Objective, Optim


def automatic() -> Config:
    """Three triangular maps, maximum likelihood; a tenth of the rows judges them, weights them and picks the step."""
    return Config(
        steps=3000,
        fewer_steps=True,
        data=Data(source="", batch_size=256, noise="local", holdout=0.1),
        encoder=Triangular(members=3, kernel=None, dropout=None),
        objective=Objective(anti_collapse="entropy", prediction_weight=0.0),
        optim=Optim(lr=3e-3, clip_norm=50.0, ema=0.995),
        monitor=Monitor(every=250),
        checkpoint=Checkpoints(every=250, best="heldout_nats", result="best"),
    )
