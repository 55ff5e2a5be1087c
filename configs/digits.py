"""The 1,797 handwritten digits of scikit-learn, half of them held out.

    python -m train digits
    python -m score runs/digits --data digits --against inverted rotated noise

Takes about 40 s on two cores. AUROC of the held-out digits against the same digits inverted, rotated and with random
pixels: 1.000, 0.999, 0.950.
"""

from jepa_jax.config import Config, Conv, Data, Objective, Optim


def get_config() -> Config:
    """A small convolutional encoder with InfoNCE; views are shifted by up to a pixel and have a little noise."""
    return Config(
        steps=2000,
        data=Data(source="digits", batch_size=256, noise=0.05, shift=1, holdout=0.5),
        encoder=Conv(widths=(32, 64), dim=32),
        objective=Objective(anti_collapse="infonce", temperature=0.1),
        optim=Optim(ema=0.99),
    )
