"""Your own images, a folder or an array [N, H, W, C]: add --data.source FOLDER, FILE.npy or FILE.npz.

    python -m train images --data.source FOLDER --out runs/mine

Takes some minutes on two cores. The images of a folder are resized and cropped to 32 x 32 pixels (--data.size); those
of an array keep their size. uint8 is scaled to [0, 1]; views are shifted by up to a pixel and have noise.
A tenth of the images is kept out of training; with labels (the first level of folders, or the array label) they judge
a linear probe, whose best checkpoint is kept.
"""

from jepa_jax.config import Config, Conv, Data, Objective, Optim


def get_config() -> Config:
    """A small convolutional encoder with InfoNCE."""
    return Config(
        data=Data(source="", batch_size=256, shift=1, size=32, holdout=0.1),
        encoder=Conv(widths=(32, 64), dim=64),
        objective=Objective(anti_collapse="infonce", temperature=0.2),
        optim=Optim(ema=0.99),
    )
