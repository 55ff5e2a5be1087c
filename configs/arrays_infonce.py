"""Your own vectors or pairs by a sphere encoder: add --data.source FILE.npy or FILE.npz.

    python -m train arrays_infonce --data.source FILE.npz --out runs/mine

For pairs, and for other objectives. On single vectors its density is often wrong where `arrays` is right.
"""

from jepa_jax.config import MLP, Config, Data, Objective, Optim


def get_config() -> Config:
    """InfoNCE on the sphere; K is four times the width of the data; views differ by local noise.

    Noise and temperature are the best of `benchmarks.terms --parts sphere` in six and nine dimensions; in two, a
    temperature of 0.2 ranks better.
    """
    return Config(
        data=Data(source="", batch_size=512, noise_factor=0.3),
        encoder=MLP(dim=None),
        objective=Objective(anti_collapse="infonce", temperature=0.05),
        optim=Optim(lr=5e-3, ema=0.995),
    )
