"""Your own vectors or pairs by a sphere encoder: add --data.source FILE.npy or FILE.npz.

    python -m train arrays_infonce --data.source FILE.npz --out runs/mine

For pairs, and for other objectives. On single vectors its density is often wrong where `arrays` is right.
"""

from jepa_jax.config import MLP, Config, Data, Objective, Optim


def get_config() -> Config:
    """InfoNCE on the sphere; K is four times the width of the data; views differ by local noise."""
    return Config(
        data=Data(source="", batch_size=512),
        encoder=MLP(dim=None),
        objective=Objective(anti_collapse="infonce", temperature=0.2),
        optim=Optim(lr=5e-3, ema=0.995),
    )
