"""A later embedding of a cart-pole from the present one and the commands, as in TS-JEPA (arXiv 2406.04853).

    python -m train cartpole_tsjepa

`python -m benchmarks.family --rows cart-pole` closes the loop: it sends each tenth observation as sixteen numbers.
"""

from jepa_jax.config import Config, Conv, Data, Monitor, Objective, Optim, Pair


def get_config() -> Config:
    """A convolutional encoder of two frames, and an MLP from embedding and one to ten commands to the one after them.

    InfoNCE, because SIGReg and VICReg keep functions of the place, which is the easiest to predict, and lose the
    angular velocity (LOG.md).
    """
    return Config(
        steps=3000,
        data=Data(source="cartpole_ahead", batch_size=256),
        encoder=Conv(widths=(32, 64), dim=16),
        recipe=Pair(predictor=(256, 256), direction="forward", ema=0.99, ema_end=1.0),
        objective=Objective(anti_collapse="infonce", temperature=0.1),
        optim=Optim(lr=2e-3),
        monitor=Monitor(every=2000, probes=512),
    )
