"""Small images of one blob: a 4-dimensional manifold in 256 pixels, with its exact density.

python -m train sprites
"""

from jepa_jax.config import MLP, Config, Data, Monitor, Objective, Optim


def get_config() -> Config:
    """SIGReg with as many dimensions as the manifold, Ornstein-Uhlenbeck pairs, and a little pixel noise.

    The optimum is E[latents | noisy image] up to a rotation: to first order, its Jacobian is the pseudo-inverse of the
    renderer's, which is zero off the manifold. With less noise, singular values remain there; with more noise, the map
    is bent.
    """
    return Config(
        steps=2500,
        data=Data(source="sprites", batch_size=512, noise=0.1, rho=0.95),
        encoder=MLP(widths=(512, 256), dim=4),
        objective=Objective(anti_collapse="sigreg", weight=0.05, num_slices=64),
        optim=Optim(lr=3e-3, ema=0.99),
        monitor=Monitor(every=500),
    )
