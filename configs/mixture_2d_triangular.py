"""Eight Gaussians in the plane, learned by an encoder that cannot fold.

python -m train mixture_2d_triangular
"""

from jepa_jax.config import Config, Data, Monitor, Objective, Optim, Triangular


def get_config() -> Config:
    """A triangular map with the exact entropy: the score is a log-density in nats, without an unknown constant."""
    return Config(
        steps=2000,
        data=Data(source="mixture_2d", noise=0.02),
        encoder=Triangular(),
        objective=Objective(anti_collapse="entropy"),
        optim=Optim(lr=3e-3, clip_norm=50.0, ema=0.995),
        monitor=Monitor(every=500),
    )
