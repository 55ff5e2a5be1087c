"""Your own pictures as an array [N, H, W, C]: add --data.source FILE.npy or FILE.npz

    python -m train images --data.source FILE.npz --out runs/mine

Two cores, some minutes at 16 x 16 pixels. uint8 is scaled to [0, 1]; views move by a pixel and add noise.
"""

from jepa_jax.config import Config, Data, Encoder, Objective, Optim


def get_config() -> Config:
    """A small convolutional encoder under InfoNCE."""
    return Config(
        data=Data(source="", batch_size=256, shift=1),
        encoder=Encoder(kind="conv", widths=(32, 64), dim=64),
        objective=Objective(anti_collapse="infonce", temperature=0.2),
        optim=Optim(average=0.99),
    )
